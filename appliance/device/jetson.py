"""What is known of Jetson Linux and TensorRT by version: which belong together, and which have a known trouble.

Facts are NVIDIA's release notes and the issues that owners filed; nothing here was tried on a board.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.device.finding import Watch
from appliance.device.sensors import Sensors
from appliance.errors import EnsuenoError

_JETPACKS = {(36, 4, 0): "6.1", (36, 4, 3): "6.2", (36, 4, 4): "6.2.1", (36, 4, 7): "6.2.1", (36, 5): "6.2.2",
             (38, 2): "7.0", (38, 4): "7.1", (39, 2): "7.2"}  # fmt: skip
_OLDEST = (36, 4)  # JetPack 6.1: Python 3.10, TensorRT 10.3
_NVMAP_TROUBLE = (36, 4, 7)
_TENSORRT = {36: (10, 3), 38: (10, 13), 39: (10, 16)}  # by the major number of Jetson Linux
_FIRST_11_FOR_JETSON = (11, 4, 1)
_LIBRARIES = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/local/lib")
_NODES = {"Thor": ("dev/nvidia0", "dev/nvidiactl"), "": ("dev/nvmap", "dev/nvgpu/igpu0/ctrl")}


def jetpack(found: Sensors) -> str:
    """Jetson Linux and the JetPack it belongs to. Raises `EnsuenoError` when too old, `Watch` on a known trouble."""
    assert found.l4t is not None  # noqa: S101  the caller asks for Jetsons only
    version = _numbers(found.l4t)
    if version < _OLDEST:
        raise EnsuenoError(f"Jetson Linux {found.l4t} is too old: flash JetPack 6.2 or newer.")
    if version == _NVMAP_TROUBLE:
        raise Watch(
            f"Jetson Linux {found.l4t} can refuse large GPU memory blocks (NvMapMemAllocInternalTagged, error 12): "
            "go to 36.5 or back to 36.4.4; until then a restart of the board helps."
        )
    known = max((known for known in _JETPACKS if version[: len(known)] == known), default=None, key=len)
    name = f"JetPack {_JETPACKS[known]}" if known else "an unknown JetPack"
    return f"Jetson Linux {found.l4t} ({name}) on {found.board or 'an unnamed board'}"


def tensorrt(found: Sensors, root: Path = Path("/")) -> str:
    """The system's TensorRT beside Jetson Linux. Raises `Watch` when it is absent or does not belong here."""
    version = tensorrt_version(root)
    if version is None:
        raise Watch(
            "TensorRT is not installed, so pictures are drawn by the CPU: sudo apt-get install python3-libnvinfer."
        )
    text = ".".join(str(number) for number in version)
    release = _numbers(found.l4t or "0")[0]
    expected = _TENSORRT.get(release)
    if (11,) <= version < _FIRST_11_FOR_JETSON:
        raise Watch(f"TensorRT {text} does not support Jetsons: install 11.4.1 or newer, or JetPack's own.")
    if release == 36 and version >= (11,):
        raise Watch(f"TensorRT {text} does not run on JetPack 6: install JetPack's own, 10.3.")
    if expected is not None and version < (11,) and version[:2] != expected:
        own = ".".join(str(number) for number in expected)
        raise Watch(
            f"TensorRT {text} is not the one of Jetson Linux {found.l4t} ({own}) and may not know this GPU: "
            "reinstall JetPack's own with apt."
        )
    return f"TensorRT {text}"


def tensorrt_version(root: Path = Path("/")) -> tuple[int, ...] | None:
    """From the library's file name, so that nothing is loaded to ask: libnvinfer.so.10.3.0 → (10, 3, 0)."""
    names = [path.name for folder in _LIBRARIES for path in (root / folder).glob("libnvinfer.so.*")]
    versions = [_numbers(name.removeprefix("libnvinfer.so.")) for name in names]
    return max(versions, default=None, key=lambda version: (len(version), version))


def power_mode(found: Sensors) -> str:
    """Raises `Watch` when a faster one may exist."""
    mode = found.power_mode
    if mode is None:
        raise Watch("The power mode is unknown: ask `nvpmodel -q`.")
    if not mode.startswith("MAXN"):
        raise Watch(f"The power mode is {mode}: where supply and cooling allow, `sudo nvpmodel -m 0` draws faster.")
    return mode


def gpu_access(found: Sensors, root: Path = Path("/")) -> str:
    """Raises `EnsuenoError` when this user may not open the GPU."""
    kind = next(kind for kind in _NODES if kind in (found.board or ""))
    present = [root / node for node in _NODES[kind] if (root / node).exists()]
    if not present:
        raise EnsuenoError(f"There is no /{_NODES[kind][0]}: the GPU's driver is not loaded, install JetPack again.")
    closed = [node for node in present if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        raise EnsuenoError(f"This user may not open {closed[0]}: add it to the groups video and render.")
    return "the GPU can be opened"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
