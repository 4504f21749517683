"""NVIDIA's and other libraries that do not load, in one sentence: for the builder and for the ladder alike."""

from __future__ import annotations

_DLA = (
    "this system has no DLA library; on the device install nvidia-l4t-dla-compiler, in a container use the image that "
    "belongs to its JetPack"
)


def of_import(library: str, error: Exception, remedy: str) -> str:
    """Why it does not load, and what helps: `remedy`, unless it is a library of the system's that it needs."""
    why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .:")
    return f"{library} cannot be loaded here ({why}): {_DLA if 'libnvdla_compiler' in why else remedy}."
