"""Half-made pictures on the disk, so that a restart goes on where it was. Losing one costs time, never a job."""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance.errors import BadInput
from appliance.pipeline.denoise import DenoiseState, checkpoint, resume


class Checkpoints:
    """One file for each half-made picture, named by its image id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, image_id: str, state: DenoiseState) -> None:
        """Replace the picture's checkpoint. A full disk is no reason to stop drawing."""
        draft = self._path(image_id).with_suffix(".draft")
        with contextlib.suppress(OSError):
            draft.write_bytes(checkpoint(state))
            draft.rename(self._path(image_id))

    def restore(self, image_id: str, start: DenoiseState) -> DenoiseState:
        """The picture as far as it was, or `start` when there is no checkpoint or it is damaged."""
        try:
            return resume(start, self._path(image_id).read_bytes())
        except (OSError, BadInput):
            return start

    def drop(self, image_id: str) -> None:
        """The picture needs it no more."""
        self._path(image_id).unlink(missing_ok=True)

    def keep_only(self, image_ids: set[str]) -> None:
        """Sweep what belongs to nobody (after a restart)."""
        for path in self._folder.iterdir():
            if path.stem not in image_ids:
                path.unlink(missing_ok=True)

    def _path(self, image_id: str) -> Path:
        return self._folder / f"{image_id}.npz"
