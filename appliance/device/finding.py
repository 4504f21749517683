"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.device.health import Level

_MARKS: dict[Level, str] = {"good": "✓", "watch": "!", "bad": "✗"}


class Watch(Exception):  # noqa: N818  it is no error: the check's answer is "good enough, but know this"
    """Raised by a check that found nothing broken and something worth a sentence."""


def unforeseen(error: Exception) -> str:
    """What a check says that failed as nobody thought it could."""
    text = " ".join(str(error).split())[:200]
    return f"This check failed itself ({type(error).__name__}: {text}): please report it."


@dataclass(frozen=True)
class Finding:
    """`detail` is one sentence; when the level is not `good` it names the remedy."""

    name: str
    level: Level
    detail: str

    @property
    def good(self) -> bool:
        """Whether the box can do its work as it is."""
        return self.level != "bad"

    def as_line(self) -> str:
        detail = self.detail.replace("\n", "\n" + " " * 13)
        return f"{_MARKS[self.level]} {self.name:<10} {detail}"

    def as_json(self) -> dict[str, object]:
        return {"name": self.name, "good": self.good, "level": self.level, "detail": self.detail}
