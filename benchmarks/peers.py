"""All peers in one run, turn by turn: A B C A B C …, so that whatever else the machine does meets everybody.

Each plays in a process of its own (see `player`); while one plays the others wait for their line.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from appliance.bench import machine
from appliance.engines.cpu import cores
from appliance.errors import BadInput, EnsuenoError
from appliance.pipeline.manifest import Bundle
from benchmarks import gemm
from benchmarks.player import ENTRIES, OURS, PEERS, Entry

CALLS = 5  # UNet calls in one turn; the turn's figure is their median
AGAINST_FASTEST = 0.97
AGAINST_DIFFUSERS = 1.5
_DIFFUSERS = "diffusers"
_REFERENCES = (_DIFFUSERS, "defaults", "onnxruntime", OURS)  # the first at the table
_OTHER_WORK = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"
_LIBRARIES = ("torch", "diffusers", "onnxruntime", "openvino", "openvino-genai", "numpy")


class Seat:
    """A peer's process; `order` waits for its answer. `refused` says why it cannot play, None when it can."""

    def __init__(self, name: str, bundle: Path, threads: int, player: str = "benchmarks.player") -> None:
        self.name = name
        command = [sys.executable, "-m", player, name, str(bundle), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._orders, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        self.refused: str | None = self._answer().get("refused")

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def order(self, do: str, **details: Any) -> dict[str, Any]:
        """Have it do something and wait. Raises `EnsuenoError` when its process is gone."""
        try:
            self._orders.write(json.dumps({"do": do, **details}) + "\n")
            self._orders.flush()
            return self._answer()
        except BrokenPipeError:
            raise EnsuenoError(
                f"The process of {self.name} ended in the middle, as for want of memory: measure fewer with --only."
            ) from None

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"refused": "its process ended without a word"}
        return answer


def compare(
    folder: Path, threads: int, repeat: int, table: Mapping[str, Entry], *, only: Sequence[str] = (), busy: bool = False
) -> dict[str, Any]:
    """Times, ratios and agreement of all of `table` that can play; `busy` keeps every core at other work beside them.

    Raises `BadInput`, `BadBundle`.
    """
    bundle = Bundle.open(folder)
    names = _chosen(bundle, repeat, table, only)
    where = machine.describe(threads) | {"libraries": versions(), "gemm_gflops": gemm.peak(threads)}
    with ExitStack() as room:
        seats = [room.enter_context(Seat(name, folder.resolve(), threads)) for name in names]
        if busy:
            room.enter_context(other_work())
        if seats[0].refused is not None:
            raise EnsuenoError(f"Ensueño itself cannot play ({seats[0].refused}): see `ensueno doctor`.")
        playing = [seat for seat in seats if seat.refused is None]
        unet, picture = _rounds(playing, repeat)
        peaks = {seat.name: seat.order("memory")["peak"] for seat in playing}
        shown = {seat.name: _shown(seat) for seat in playing}
    reference = next(name for name in _REFERENCES if name in shown)
    return {
        "machine": where,
        "bundle": bundle.manifest.title,
        "repeat": repeat,
        "busy": busy,
        "unet": _table(unet),
        "picture": _table(picture),
        "peaks": {name: peaks[name] for name in ENTRIES if peaks.get(name) is not None},
        "reference": reference,
        "agreement": {name: _agreement(shown[name], shown[reference]) for name in shown if name != reference},
        "refused": {seat.name: seat.refused for seat in seats if seat.refused is not None},
    }


@contextmanager
def other_work() -> Iterator[None]:
    """Somebody else who wants every core, for as long as the block lasts."""
    processes = [subprocess.Popen([sys.executable, "-c", _OTHER_WORK]) for _ in range(cores())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _chosen(bundle: Bundle, repeat: int, table: Mapping[str, Entry], only: Sequence[str]) -> list[str]:
    if repeat < 1:
        raise BadInput(f"repeat must be 1 or more, not {repeat}.")
    unknown = set(only) - table.keys()
    if unknown:
        raise BadInput(f"There is no peer {sorted(unknown)[0][:40]}: choose among {', '.join(table)}.")
    scheduler = bundle.manifest.scheduler
    if scheduler.allowed[0] != "flow_match_euler" or scheduler.timestep_spacing == "trailing":
        raise BadInput("The peers' loops are written for flow matching: name such a bundle.")
    return [name for name in table if not only or name in only or name == OURS]


def _rounds(seats: Sequence[Seat], repeat: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of a UNet call and of a picture for each, one figure for each round; who begins moves on by one."""
    unet: dict[str, list[float]] = {}
    picture: dict[str, list[float]] = {}
    for turn in range(repeat):
        first = turn % max(1, len(seats))
        for seat in [*seats[first:], *seats[:first]]:
            calls = seat.order("unet", calls=CALLS)["seconds"]
            if calls is not None:
                unet.setdefault(seat.name, []).append(statistics.median(calls))
            picture.setdefault(seat.name, []).append(seat.order("picture", seed=turn + 1)["seconds"])
    return unet, picture


def _table(runs: dict[str, list[float]]) -> dict[str, Any]:
    """Median and spread of each, and what the design asks: ours against the fastest and against diffusers."""
    rows = {
        name: {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds), "runs": seconds}
        for name, seconds in runs.items()
    }
    peers = [
        name
        for name in runs
        if name in PEERS and PEERS[name].module != PEERS[OURS].module and PEERS[name].same_precision
    ]
    ratios = {name: _ratio(runs[name], runs[OURS]) for name in runs if name != OURS}
    fastest = min(peers, key=lambda name: ratios[name]["median"], default=None)
    return {
        "rows": {name: rows[name] for name in ENTRIES if name in rows},
        "ours_is_faster_by": ratios,
        "against_fastest": None if fastest is None else _goal(fastest, ratios[fastest], AGAINST_FASTEST),
        "against_diffusers": _goal(_DIFFUSERS, ratios[_DIFFUSERS], AGAINST_DIFFUSERS) if _DIFFUSERS in runs else None,
    }


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times faster ours was, round by round: two neighbours in time met the same machine."""
    ratios = [their / our for their, our in zip(theirs, ours, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def _goal(peer: str, ratio: dict[str, float], goal: float) -> dict[str, Any]:
    return {"peer": peer, "ratio": ratio["median"], "goal": goal, "met": ratio["median"] >= goal}


def _shown(seat: Seat) -> dict[str, NDArray[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        kept = seat.order("show", seed=1, folder=folder)["kept"]
        return {name: np.load(Path(folder) / f"{name}.npy", allow_pickle=False) for name in kept}


def _agreement(have: dict[str, NDArray[Any]], want: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Relative L2 errors, the share of pixels that differ, and the largest difference of 0 … 255."""
    told: dict[str, float] = {
        name: float(np.linalg.norm(have[name] - want[name]) / np.linalg.norm(want[name]))
        for name in ("noise_pred", "latents")
        if name in have and name in want
    }
    if "pixels" in have and "pixels" in want:
        apart = np.abs(have["pixels"].astype(int) - want["pixels"].astype(int))
        told |= {"pixels_differing": float((apart > 0).mean()), "largest_difference": float(apart.max())}
    return told


def versions() -> dict[str, str]:
    """Of the libraries that are compared."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def as_text(result: dict[str, Any]) -> str:
    """Tables for people."""
    libraries = ", ".join(f"{name} {version}" for name, version in result["machine"]["libraries"].items())
    machine_line = result["machine"]["line"]
    lines = [f"{result['bundle']} on {machine_line}, {result['machine']['date']}; {libraries}"]
    lines.append(
        f"float32 GEMM peak of {result['machine']['threads']} threads: {result['machine']['gemm_gflops']:.0f} GFLOP/s"
    )
    if result["busy"]:
        lines.append("every core was kept busy with other work")
    lines += _section("one UNet call, one picture (2 rows)", result["unet"])
    lines += _section("one whole picture, words to pixels", result["picture"])
    lines += ["", "the most memory that its process held"]
    lines += [f"  {ENTRIES[name].words:<44} {peak / 2**20:8.0f} MiB" for name, peak in result["peaks"].items()]
    reference = ENTRIES[result["reference"]].words
    lines += [
        "",
        f"agreement with {reference} (relative L2 errors; pixels that differ at all, and at most by how much)",
    ]
    for name, told in result["agreement"].items():
        figures = ", ".join(f"{key} {value:.2g}" for key, value in told.items())
        lines.append(f"  {ENTRIES[name].words:<26} {figures}")
    lines += [f"  {ENTRIES[name].words} did not play: {why}" for name, why in result["refused"].items()]
    return "\n".join(lines)


def _section(title: str, table: dict[str, Any]) -> Iterable[str]:
    yield from ("", f"{title:<50} median   spread            Ensueño is faster by")
    for name, row in table["rows"].items():
        ratio = table["ours_is_faster_by"].get(name)
        told = f"{ratio['median']:.2f} x ({ratio['low']:.2f} … {ratio['high']:.2f})" if ratio else ""
        times = f"{row['median'] * 1e3:8.1f} ms {row['low'] * 1e3:8.1f} … {row['high'] * 1e3:<8.1f}"
        yield f"  {ENTRIES[name].words:<44} {times} {told}"
    for goal in (table["against_fastest"], table["against_diffusers"]):
        if goal is not None:
            verdict = "met" if goal["met"] else "NOT MET"
            yield f"  goal ≥ {goal['goal']} x {ENTRIES[goal['peer']].words}: {goal['ratio']:.2f} x, {verdict}"
