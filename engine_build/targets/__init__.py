"""What plans can be built for; each vendor's library is imported in exactly one file here, and only when asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.errors import Unavailable
from appliance.plans import libraries, passport

_REMEDIES = {
    "tensorrt": "install JetPack's python3-libnvinfer and make the environment with --system-site-packages",
    "tensorrt_rtx": "install it with `.venv/bin/pip install -e '.[tensorrt-rtx]'` in Ensueño's folder",
}


@dataclass(frozen=True)
class Target:
    """A vendor's builder, ready to use, and what it builds for.

    `trt` is the vendor's module; both have the same calls. `aim` sets what only one of them has on the builder's
    configuration. `keeps_timings`: a timing cache makes the next build shorter.
    """

    name: passport.Target
    trt: Any
    sm: str
    gpu: str | None
    aim: Callable[[Any], None]
    keeps_timings: bool

    @property
    def version(self) -> str:
        return str(self.trt.__version__)


def library(module: str) -> Any:
    """A vendor's module. Raises `Unavailable` with the remedy.

    An `OSError` is a library that TensorRT itself needs (libnvdla_compiler.so in containers on JetPack 7.2); a module
    without a builder is what type stubs leave behind.
    """
    try:
        found = importlib.import_module(module)
        if not hasattr(found, "Builder"):
            raise ImportError("it is not installed")
    except (ImportError, OSError) as error:
        raise Unavailable(libraries.of_import(module, error, _REMEDIES[module])) from None
    return found
