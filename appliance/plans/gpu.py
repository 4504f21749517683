"""The GPU of this machine and, on a Jetson, its system: as passports name them. Needs the driver alone."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

_L4T = Path("/etc/nv_tegra_release")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True)
class Gpu:
    """`sm` is the compute capability, "8.7"."""

    name: str
    sm: str


def gpu() -> Gpu | None:
    """The first GPU that CUDA shows, or None where there is no driver or no GPU. Makes no context."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    answers = (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    )
    if any(answers):
        return None
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")


def l4t(path: Path = _L4T) -> str | None:
    """The version of Jetson Linux, "36.4.0", or None on other machines."""
    try:
        found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", path.read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return f"{found[1]}.{found[2]}" if found else None
