"""POST, GET and DELETE of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.progress import boottime
from tests.web.box import Box, make_box


def ask(box: Box, **fields: Any) -> dict[str, Any]:
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple"} | fields)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.get_json()
    return job


def test_a_prompt_is_enough(box: Box) -> None:
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple"})
    job = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["position"] == 1
    assert job["images"] == []
    assert 0 <= job["request"]["seed"] < 2**32
    assert (job["request"]["width"], job["request"]["steps"]) == (128, 20)
    assert set(job) >= {"id", "state", "request", "images", "engine", "error", "position", "created", "ended"}


def test_the_same_sentence_dreams_a_new_picture_each_time(box: Box) -> None:
    assert ask(box)["request"]["seed"] != ask(box)["request"]["seed"]


def test_the_same_id_gives_the_job_as_it_stands(box: Box) -> None:
    first = ask(box, id="mine-1")
    box.engine.wake()
    box.engine.draw()
    again = ask(box, id="mine-1")
    assert again["state"] == "finished"
    assert again["request"] == first["request"]
    assert box.journal.counts()[box.journal.job("mine-1").state] == 1


def test_the_same_id_with_another_request_is_a_conflict(box: Box) -> None:
    ask(box, id="mine-1")
    answer = box.client.post("/v1/jobs", json={"prompt": "a green apple", "id": "mine-1"})
    assert answer.status_code == 409
    assert "new id" in answer.get_json()["detail"]


def test_a_job_is_followed_to_its_end(box: Box) -> None:
    job = ask(box, count=2)
    box.engine.wake()
    claimed = box.engine.claim()
    assert box.client.get(f"/v1/jobs/{job['id']}").get_json()["state"] == "running"
    box.engine.finish(claimed)
    ended = box.client.get(f"/v1/jobs/{job['id']}").get_json()
    assert ended["state"] == "finished"
    assert len(ended["images"]) == 2
    assert ended["engine"] == "onnxruntime"
    assert ended["ended"] > ended["created"]


def test_a_queued_job_is_cancelled_at_once(box: Box) -> None:
    job = ask(box)
    answer = box.client.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "cancelled")


def test_a_running_job_is_asked_to_stop(box: Box) -> None:
    job = ask(box)
    box.engine.wake()
    box.engine.claim()
    assert box.client.delete(f"/v1/jobs/{job['id']}").get_json()["state"] == "running"
    assert box.journal.cancelled(box.engine.session) == {job["id"]}


def test_submit_and_cancel_ring_the_bell(box: Box) -> None:
    with box.board.bell() as bell:
        job = ask(box)
        assert bell.wait(2) == {job["id"]}
        box.client.delete(f"/v1/jobs/{job['id']}")
        assert bell.wait(2) == {job["id"]}


def test_a_job_whose_time_is_over_expires(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ask(box, expires_in=60)
    later = boottime() + 60
    monkeypatch.setattr(box.journal, "_uptime", lambda: later)
    box.engine.wake()
    assert box.journal.claim(box.engine.session) is None
    assert box.client.get(f"/v1/jobs/{job['id']}").get_json()["state"] == "expired"


def test_a_job_of_high_priority_is_next(box: Box) -> None:
    ask(box)
    assert ask(box)["position"] == 2
    urgent = ask(box, priority="high")
    assert (urgent["position"], urgent["priority"]) == (1, "high")


@pytest.mark.parametrize("priority", ["urgent", 1, [], {}, ""])
def test_a_bad_priority_is_refused(box: Box, priority: Any) -> None:
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple", "priority": priority})
    assert (answer.status_code, answer.get_json()["detail"]) == (400, "priority must be low, normal or high.")


@pytest.mark.parametrize("expires_in", [0, -1, "60", True, 1e300, 604801, []])
def test_a_bad_expiry_is_refused(box: Box, expires_in: Any) -> None:
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple", "expires_in": expires_in})
    assert answer.status_code == 400


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    box = make_box(tmp_path, queue_limit=1)
    ask(box)
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple"})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_a_full_disk_is_507(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box.journal, "_reserve", 1 << 62)
    answer = box.client.post("/v1/jobs", json={"prompt": "a red apple"})
    assert answer.status_code == 507
    assert "make room" in answer.get_json()["detail"]


def test_a_lost_board_does_not_lose_an_accepted_job(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job_id: str = "*") -> None:
        raise FileNotFoundError

    monkeypatch.setattr(box.board, "ring", broken)
    assert ask(box)["state"] == "queued"


@pytest.mark.parametrize("job_id", ["nothing", "%00", "a" * 300, "%ED%A0%80", "..%2f..%2fetc"])
def test_an_unknown_job_is_404(box: Box, job_id: str) -> None:
    for method in (box.client.get, box.client.delete):
        assert method(f"/v1/jobs/{job_id}").status_code == 404
    assert box.client.get(f"/v1/jobs/{job_id}/events").status_code == 404
    assert box.client.get(f"/v1/jobs/{job_id}/progress").status_code == 404
