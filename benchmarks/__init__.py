"""Comparisons with other people's software, for a desk with torch and OpenVINO; `ensueno bench` is for the box itself."""
