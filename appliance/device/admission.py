"""What a job will need, and whether the box can bear it now: a refusal at the door in place of an out-of-memory kill.

The engine measures, while it draws its proof, how much memory a pixel in flight takes; what the largest finished job
needed is taken already (engines keep what they allocate). So a job needs memory only for the pixels beyond that. It is
an estimate, meant to be wrong by a part and not by a factor: attention grows faster than pixels do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.device import sensors
from appliance.device.health import LOW_MEMORY
from appliance.device.sensors import Memory
from appliance.errors import Unavailable
from appliance.progress import Board, Pulse, engine_alive
from appliance.request import GenerationRequest, Offer

_SHORTEST, _LONGEST = 5.0, 300.0  # seconds until a refused job may be asked for again
_MIB = 1 << 20


@dataclass(frozen=True)
class Need:
    """Bytes beyond what the engine has, and seconds of work once it is its turn (None when the pace is unknown)."""

    memory: int
    seconds: float | None


def need(request: GenerationRequest, pulse: Pulse) -> Need:
    """What the job will take, by what the engine measured."""
    pixels = request.width * request.height * request.count
    memory = (pulse.bytes_per_pixel or 0.0) * max(0, pixels - pulse.proven_pixels)
    pace = pulse.seconds_per_picture
    return Need(round(memory), None if pace is None else pace * request.count)


class Admission:
    """`admission(request)` returns when the box can bear the job now, and raises `Unavailable` when it cannot.

    Without an engine that is alive nothing is known, and the job is taken: it waits for one.
    """

    def __init__(self, board: Board, offer: Offer, memory: Callable[[], Memory] = sensors.memory) -> None:
        self._board = board
        self._offer = offer
        self._memory = memory

    def __call__(self, request: GenerationRequest) -> None:
        pulse = self._board.pulse()
        if pulse is None or not engine_alive(pulse):
            return
        free = self._memory().available - LOW_MEMORY
        needed = need(request, pulse)
        if needed.memory <= max(0, free):
            return
        smaller = self._smaller(request, pulse, free)
        remedy = f"choose {smaller}, or try again later" if smaller else "close other programs, then try again"
        raise Unavailable(
            f"This needs about {needed.memory // _MIB} MiB more memory than the engine has, "
            f"and {max(0, free) // _MIB} MiB can be spared: {remedy}.",
            retry_after=min(_LONGEST, max(_SHORTEST, needed.seconds or 0.0)),
        )

    def _smaller(self, request: GenerationRequest, pulse: Pulse, free: int) -> str | None:
        """The largest wish near this one that fits now: fewer pictures first, then a smaller size."""
        fewer = [(request.width, request.height, count) for count in range(request.count - 1, 0, -1)]
        area = request.width * request.height
        sizes = [(width, height, 1) for width, height in self._offer.sizes if width * height < area]
        for width, height, count in (*fewer, *sorted(sizes, key=lambda size: -size[0] * size[1])):
            wish = request.model_copy(update={"width": width, "height": height, "count": count})
            if need(wish, pulse).memory <= max(0, free):
                many = "one picture" if count == 1 else f"{count} pictures"
                return f"{many} of {width}x{height}"
        return None
