"""The image for the Jetson: what it installs, locked by hash, and its own steps run on an emulated aarch64 machine."""
