"""What an NVIDIA GPU does at full size, checked in one go without a network: `scripts/gpu-check --out FILE`.

Each check is a module here with one function `check(tell)`, run in a process of its own (`part`) under its own time
limit, so that one that fails or hangs costs the others nothing. The weights are random: these are times, not pictures.
"""
