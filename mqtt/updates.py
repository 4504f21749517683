"""A newer version of the bundle that is drawn with: whether one is installed, and the change to it."""

from __future__ import annotations

import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from appliance.bundles.slots import Slots
from appliance.errors import BadBundle
from appliance.pipeline.manifest import Bundle, Manifest
from mqtt.program import own_command


class Updates:
    """Of the bundle with this manifest. `begin` changes to the newest; the link ends itself once that is active."""

    def __init__(self, data_dir: Path, manifest: Manifest) -> None:
        self.name = manifest.name
        self.installed = manifest.version
        self._data_dir = data_dir
        self._slots = Slots(data_dir)
        self._looked: int | None = None
        self._newest: tuple[str, str] | None = None
        self._worker = ThreadPoolExecutor(1)
        self._doing: Future[str] | None = None

    @property
    def latest(self) -> str:
        """The newest installed version, or the one that is drawn with."""
        self._look()
        return self.installed if self._newest is None else self._newest[0]

    @property
    def busy(self) -> bool:
        """Whether the change is being made."""
        if self._doing is not None and self._doing.done():
            error = self._doing.exception()
            if error is not None:
                logging.warning("The newer bundle is not active: %s", error)
            self._doing = None
        return self._doing is not None

    def begin(self) -> None:
        """Nothing to do where there is no newer one."""
        self._look()
        if self._newest is not None and not self.busy:
            self._doing = self._worker.submit(own_command, self._data_dir, "model", "activate", self._newest[1])

    def _look(self) -> None:
        """The folder changes when a bundle is installed or removed; manifests of large models are long."""
        try:
            stamp = self._slots.folder.stat().st_mtime_ns
        except OSError:
            return
        if stamp == self._looked:
            return
        self._looked = stamp
        found = [self._version(slot) for slot in self._slots.names() if slot.startswith(f"{self.name}-")]
        newer = [one for one in found if one is not None and _order(one[0]) > _order(self.installed)]
        self._newest = max(newer, key=lambda one: _order(one[0]), default=None)

    def _version(self, slot: str) -> tuple[str, str] | None:
        try:
            manifest = Bundle.open(self._slots.folder / slot).manifest
        except BadBundle:
            return None
        return (manifest.version, slot) if manifest.name == self.name else None


def _order(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)]
