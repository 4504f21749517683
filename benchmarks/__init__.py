"""Comparisons with other people's software, on a desk with torch and OpenVINO; the box has `ensueno bench`."""
