"""The service on real processes: start, one picture, its own cost, four people at once, memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from appliance.bench import memory, stopwatch
from appliance.bench.box import WEB, Asked, Box, Plan
from appliance.bench.figures import Figure, Goal, timed
from appliance.bench.stages import PICTURE
from appliance.pipeline.manifest import Bundle

FIRST_PICTURE = Goal("≤", 5.0)
OWN_COST = Goal("<", 15.0)
OWN_SHARE = Goal("<", 2.0)
AT_ONCE = Goal("≥", 1.5)
WEB_MEMORY = Goal("≤", 80.0)
ENGINE_MEMORY = Goal("≤", 150.0)
PEOPLE = 4
_FLOAT32 = 4


def measure(plan: Plan, repeat: int, png_ms: float) -> list[Figure]:
    """Start boxes one after another and measure them. Raises `Unavailable` when one does not serve."""
    wishes = _wishes(plan.bundle)
    figures = _cold_start(plan, repeat, wishes)
    with Box(plan) as box:
        box.wait_until_ready()
        box.ask(next(wishes))
        figures += _one_picture(box, repeat, wishes)
        figures += _at_once(box, repeat, wishes)
        figures += _web_memory(box)
    return figures + _own_cost(plan, repeat, wishes, png_ms)


def _wishes(bundle: Bundle) -> Iterator[dict[str, Any]]:
    """A sentence never met before, at the bundle's defaults."""
    return ({"prompt": f"{bundle.manifest.example} {number}", "seed": number} for number in count(1))


def _cold_start(plan: Plan, repeat: int, wishes: Iterator[dict[str, Any]]) -> list[Figure]:
    """`ensueno serve`, from the start of its first process."""
    ready, first = [], []
    for _ in range(repeat):
        with Box(plan) as box:
            ready.append(box.wait_until_ready())
            box.ask(next(wishes))
            first.append(time.perf_counter() - box.started)
    group = "cold start"
    return [
        Figure(group, "until /readyz says yes", "s", ready, note="the engine has then drawn a picture to prove itself"),
        Figure(group, "until the first picture is drawn", "s", first, FIRST_PICTURE),
    ]


def _one_picture(box: Box, repeat: int, wishes: Iterator[dict[str, Any]]) -> list[Figure]:
    group = "service, one picture"
    asked = [box.ask(next(wishes)) for _ in range(repeat)]
    image = f"/v1/images/{asked[-1].images[0]}.png"
    return [
        Figure(group, "submit to end over HTTP", "s", [one.seconds for one in asked], PICTURE),
        Figure(group, "submit until accepted", "ms", [(one.accepted - one.began) * 1e3 for one in asked],
               note="its commit is on the disk"),
        Figure(group, "GET /healthz", "ms", timed(lambda: box.get("/healthz"), repeat, "ms", calls=5)),
        Figure(group, "GET the picture's file", "ms", timed(lambda: box.get(image), repeat, "ms", calls=5)),
    ]  # fmt: skip


def _at_once(box: Box, repeat: int, wishes: Iterator[dict[str, Any]]) -> list[Figure]:
    """Four people at once beside one after another, taking turns."""
    together, apart = [], []
    with ThreadPoolExecutor(PEOPLE) as people:
        # the first batch of a size is slower: its network is compiled
        list(people.map(box.ask, [next(wishes) for _ in range(PEOPLE)]))
        for _ in range(repeat):
            began = time.perf_counter()
            list(people.map(box.ask, [next(wishes) for _ in range(PEOPLE)]))
            together.append(PEOPLE / (time.perf_counter() - began))
            began = time.perf_counter()
            for _ in range(PEOPLE):
                box.ask(next(wishes))
            apart.append(PEOPLE / (time.perf_counter() - began))
    group = f"{PEOPLE} people at once"
    ratios = [many / one for many, one in zip(together, apart, strict=True)]
    return [
        Figure(group, "pictures a second, at once", "/s", together),
        Figure(group, "pictures a second, one after another", "/s", apart),
        Figure(group, "at once over one after another", "x", ratios, AT_ONCE),
    ]


def _web_memory(box: Box) -> list[Figure]:
    """After the load above, pages and streams included; empty where there is no /proc."""
    group = "memory"
    told = [held for process in box.processes for held in memory.family(process.pid)]
    web = [held for held in told if WEB[0] in held.command]
    rest = [held for held in told if "appliance.w" not in held.command]
    figures = []
    if web:
        rss = " + ".join(f"{held.rss:.0f}" for held in web)
        note = f"PSS of its {len(web)} processes; RSS {rss} MiB"
        figures.append(Figure(group, "web", "MiB", [sum(held.pss for held in web)], WEB_MEMORY, note))
    if rest:
        note = f"PSS; RSS {sum(held.rss for held in rest):.0f} MiB"
        figures.append(Figure(group, "supervisor", "MiB", [sum(held.pss for held in rest)], note=note))
    return figures


def _own_cost(plan: Plan, repeat: int, wishes: Iterator[dict[str, Any]], png_ms: float) -> list[Figure]:
    """The same processes, the engine with a stopwatch on its networks (see `stopwatch`)."""
    with Box(plan, watched=True) as box:
        box.wait_until_ready()
        box.ask(next(wishes))
        pictures = []
        for _ in range(2 * repeat):
            asked = box.ask(next(wishes))
            pictures.append((asked, _during(asked, stopwatch.heard(box.calls))))
        with ThreadPoolExecutor(PEOPLE) as people:
            list(people.map(box.ask, [next(wishes) for _ in range(PEOPLE)]))
        return _costs(pictures, png_ms) + _engine_memory(plan.bundle, box, stopwatch.heard(box.calls))


def _during(asked: Asked, calls: list[stopwatch.Call]) -> list[stopwatch.Call]:
    return [call for call in calls if not call.loading and asked.began <= call.began <= asked.ended]


def _costs(pictures: list[tuple[Asked, list[stopwatch.Call]]], png_ms: float) -> list[Figure]:
    """The whole time of each picture, less its networks' and its PNG's; where it goes, in three parts."""
    group = "the service's own cost, one picture"
    networks = [sum(call.seconds for call in calls) * 1e3 for _, calls in pictures]
    own = [asked.seconds * 1e3 - spent - png_ms for (asked, _), spent in zip(pictures, networks, strict=True)]
    before = [(calls[0].began - asked.began) * 1e3 for asked, calls in pictures]
    after = [(asked.ended - calls[-1].ended) * 1e3 - png_ms for asked, calls in pictures]
    between = [whole - first - last for whole, first, last in zip(own, before, after, strict=True)]
    shares = [100 * cost / spent for cost, spent in zip(own, networks, strict=True)]
    return [
        Figure(group, "the networks' time", "ms", networks, note="text encoder, every step's UNet call, decoder"),
        Figure(group, "everything else but the PNG", "ms", own, OWN_COST, "HTTP, journal, arithmetic, previews, store"),
        Figure(group, "share of the networks' time", "%", shares, OWN_SHARE),
        Figure(group, "  before the first network", "ms", before, note="HTTP, commit, bell, claim, tokenizer"),
        Figure(group, "  between networks", "ms", between, note="arithmetic, previews, looks for a cancel"),
        Figure(group, "  after the last network", "ms", after, note="file and folder synced, commit, end event"),
    ]


def _engine_memory(bundle: Bundle, box: Box, calls: list[stopwatch.Call]) -> list[Figure]:
    """Beyond weights (float32, as the networks compute) and activations (what its calls made the process grow by)."""
    held = memory.look(box.processes[-1].pid)
    if held is None:
        return []
    parameters = sum(component.parameters for component in bundle.manifest.components.values())
    weights = parameters * _FLOAT32 / memory.MIB
    activations = sum(max(0.0, call.grown) for call in calls if not call.loading)
    group = "memory"
    note = f"PSS {held.pss:.0f} less both; RSS {held.rss:.0f} MiB"
    return [
        Figure(group, "engine: weights", "MiB", [weights], note="parameters x 4 bytes"),
        Figure(group, "engine: activations", "MiB", [activations], note=f"growth during the calls, {PEOPLE} at once"),
        Figure(group, "engine beyond weights and activations", "MiB", [held.pss - weights - activations],
               ENGINE_MEMORY, note),
    ]  # fmt: skip
