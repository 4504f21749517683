"""Offline: a diffusers folder → ONNX → a checked bundle that `appliance` reads."""
