"""Which GPU it is, asked of the driver itself: no toolkit, torch or Python package is needed for the answer."""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any

_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # CUdevice_attribute


def described() -> dict[str, Any] | None:
    """The first device: name, compute capability, memory in MiB, driver; None where no driver or device is."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, text, size, number = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    driver.cuDeviceGetName(text, len(text), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)

    def attribute(which: int) -> int:
        driver.cuDeviceGetAttribute(ctypes.byref(number), which, device)
        return number.value

    driver.cuDriverGetVersion(ctypes.byref(number))
    cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return {
        "name": text.value.decode(),
        "compute_capability": f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        "multiprocessors": attribute(_MULTIPROCESSORS),
        "memory_mib": size.value >> 20,
        "cuda_of_the_driver": cuda,
        "driver": _driver_version(),
    }


def _driver_version() -> str | None:
    """As nvidia-smi says it; None where it is not there (Jetson's has no such field in older releases)."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout else None
