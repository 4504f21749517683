"""`python -m appliance.device.cuda`: can this process, as it is confined now, use the GPU?

Asks the driver alone (libcuda, by ctypes): a context is made and given back. Status 0 when it can, else 1 and why.
"""

from __future__ import annotations

import ctypes
import sys

_LIBRARY = "libcuda.so.1"


def trouble() -> str | None:
    """None when a context can be made, else why not."""
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        return f"{_LIBRARY} cannot be loaded ({error})."
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
    ):
        status = getattr(cuda, name)(*arguments)
        if status != 0:
            return f"{name} failed with CUDA error {status}."
    cuda.cuDevicePrimaryCtxRelease(device)
    return None


if __name__ == "__main__":
    found = trouble()
    if found is not None:
        print(found, file=sys.stderr)
    sys.exit(0 if found is None else 1)
