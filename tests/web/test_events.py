"""The stream of one job. The generator is stepped by hand, so nothing here sleeps to see a change."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.web import Limits
from appliance.web.events import frames
from appliance.web.services import KEY, Services
from tests.web.box import Box, make_box


def parse(frame: str) -> tuple[str, Any]:
    lines = dict(line.split(": ", 1) for line in frame.strip().splitlines() if not line.startswith(":"))
    return lines.get("event", ""), json.loads(lines["data"]) if "data" in lines else None


def told(stream: Iterator[str]) -> tuple[str, Any]:
    """The next frame that says something; heartbeats are passed over."""
    while True:
        name, data = parse(next(stream))
        if data is not None:
            return name, data


def submitted(box: Box, **fields: Any) -> str:
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple"} | fields)
    return str(answer.get_json()["id"])


def watch(box: Box, job_id: str) -> Iterator[str]:
    services: Services = box.app.extensions[KEY]
    return frames(services, services.switchboard.subscribe(job_id))


def test_a_whole_life(box: Box) -> None:
    box.engine.wake(seconds_per_picture=2.0)
    first, second = submitted(box), submitted(box)
    stream = watch(box, second)
    assert told(stream) == ("progress", told_moment(state="queued", position=2, seconds_left=4.0))
    claimed = box.engine.claim()
    box.engine.finish(claimed)
    assert claimed.id == first
    assert told(stream)[1]["position"] == 1
    claimed = box.engine.claim()
    box.engine.show(claimed, 5, 20, 1.5)
    name, moment = told(stream)
    assert (name, moment["state"], moment["step"], moment["steps"]) == ("progress", "running", 5, 20)
    assert moment["seconds_left"] == 1.5
    assert moment["position"] is None
    assert len(moment["previews"]) == 1
    box.engine.finish(claimed)
    name, job = told(stream)
    assert (name, job["state"], len(job["images"])) == ("end", "finished", 1)
    assert list(stream) == []


def told_moment(**fields: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {"state": "running", "position": None, "step": None, "steps": None, "seconds_left": None,
             "previews": [], "engine_alive": True}  # fmt: skip
    return blank | fields


def test_an_ended_job_ends_its_stream_at_once(box: Box) -> None:
    job_id = submitted(box)
    box.client.delete(f"/v1/jobs/{job_id}")
    answer = box.client.get(f"/v1/jobs/{job_id}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "event: end" in answer.text
    assert '"cancelled"' in answer.text


def test_silence_is_filled_with_heartbeats(tmp_path: Path) -> None:
    box = make_box(tmp_path, Limits(heartbeat=0.01))
    stream = watch(box, submitted(box))
    frames_seen = [next(stream) for _ in range(4)]
    assert frames_seen[0].startswith("retry:")
    assert frames_seen[1].startswith("event: progress")
    assert [frame[0] for frame in frames_seen[2:]] == [":", ":"]


def test_a_lost_ring_costs_a_moment_and_never_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = make_box(tmp_path, Limits(heartbeat=0.01))
    job_id = submitted(box)
    stream = watch(box, job_id)
    assert told(stream)[0] == "progress"
    box.journal.cancel(job_id)  # nobody rings
    assert told(stream)[0] == "end"


def test_a_dead_engine_is_told(box: Box) -> None:
    job_id = submitted(box)
    assert told(watch(box, job_id))[1]["engine_alive"] is False


def test_a_stream_has_a_longest_life(tmp_path: Path) -> None:
    box = make_box(tmp_path, Limits(heartbeat=0.01, stream_life=0.05))
    assert list(watch(box, submitted(box)))[-1] != ""


def test_there_is_a_bound_on_streams_and_closing_one_gives_its_seat_back(tmp_path: Path) -> None:
    box = make_box(tmp_path, Limits(max_watchers=2))
    job_id = submitted(box)
    path = f"/v1/jobs/{job_id}/events"
    held = [box.client.get(path, buffered=False) for _ in range(2)]
    refused = box.client.get(path)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert "progress" in refused.get_json()["detail"]
    assert box.client.get(f"/v1/jobs/{job_id}/progress").get_json()["position"] == 1
    held.pop().close()
    again = box.client.get(path, buffered=False)
    assert again.status_code == 200
    again.close()
    held.pop().close()
    services: Services = box.app.extensions[KEY]
    assert services.seats.taken == 0


def test_a_stream_that_cannot_begin_holds_no_seat(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise FileNotFoundError

    job_id = submitted(box)
    services: Services = box.app.extensions[KEY]
    with monkeypatch.context() as broken_board:
        broken_board.setattr(box.board, "bell", broken)
        assert box.client.get(f"/v1/jobs/{job_id}/events").status_code == 500
        assert services.seats.taken == 0
        assert not services.switchboard._subscriptions
    box.client.delete(f"/v1/jobs/{job_id}")
    assert "event: end" in box.client.get(f"/v1/jobs/{job_id}/events").text


def test_the_time_left_in_the_queue_counts_the_jobs_own_pictures(box: Box) -> None:
    box.engine.wake(seconds_per_picture=2.0)
    submitted(box)
    moment = box.client.get(f"/v1/jobs/{submitted(box, count=3)}/progress").get_json()
    assert (moment["position"], moment["seconds_left"]) == (2, 8.0)


def test_a_head_request_holds_no_seat(box: Box) -> None:
    assert box.client.head(f"/v1/jobs/{submitted(box)}/events").status_code == 200
    services: Services = box.app.extensions[KEY]
    assert services.seats.taken == 0


def test_all_streams_share_one_listener_and_end_with_the_server(box: Box) -> None:
    streams = [watch(box, submitted(box)) for _ in range(3)]
    for stream in streams:
        assert told(stream)[0] == "progress"
    mine = [thread for thread in threading.enumerate() if thread.name == "switchboard" and thread.is_alive()]
    assert len(list((box.board._bells).iterdir())) == 1
    assert mine
    box.app.extensions[KEY].switchboard.close()
    for stream in streams:
        assert [parse(frame)[0] for frame in stream] in ([], ["progress"])


def test_progress_by_asking(box: Box) -> None:
    box.engine.wake()
    job_id = submitted(box, count=3)
    claimed = box.engine.claim()
    box.engine.show(claimed, 7)
    moment = box.client.get(f"/v1/jobs/{job_id}/progress").get_json()
    assert (moment["state"], moment["step"], len(moment["previews"])) == ("running", 7, 3)
    box.engine.finish(claimed)
    assert box.client.get(f"/v1/jobs/{job_id}/progress").get_json() == told_moment(state="finished")
