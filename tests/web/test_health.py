"""Health, readiness, metrics, offer."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.progress import boottime
from tests.web.box import Box


def metrics(box: Box) -> dict[str, float]:
    text = box.client.get("/metrics").text
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_process_answers(box: Box) -> None:
    assert box.client.get("/healthz").get_json() == {"status": "ok"}


def test_ready_only_after_a_real_picture_and_while_the_engine_lives(box: Box) -> None:
    assert "has not started" in not_ready(box)
    box.engine.wake()
    assert "first picture" in not_ready(box)
    box.engine.pictures = 1
    box.engine.beat()
    answer = box.client.get("/readyz")
    assert (answer.status_code, answer.get_json()["engine"]) == (200, "onnxruntime")
    box.engine.beat(beat=boottime() - 60)
    assert "no sign of life" in not_ready(box)


def test_a_journal_that_lies_aside_is_said_for_as_long_as_it_does(box: Box) -> None:
    box.engine.wake(pictures=1)
    assert box.client.get("/readyz").get_json()["note"] is None
    aside = box.journal.path.with_name(f"{box.journal.path.name}.damaged-20261128-000000")
    aside.touch()
    assert aside.name in box.client.get("/readyz").get_json()["note"]
    aside.unlink()
    assert box.client.get("/readyz").get_json()["note"] is None


def not_ready(box: Box) -> str:
    answer = box.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.content_type == "application/problem+json"
    return str(answer.get_json()["detail"])


def test_metrics_tell_what_the_journal_and_the_pulse_say(box: Box) -> None:
    assert metrics(box)["appliance_engine_up"] == 0
    box.client.post("/v1/jobs", json={"prompt": "a red apple"})
    box.engine.wake(pictures=3)
    found = metrics(box)
    assert found["appliance_jobs{state=queued}"] == 1
    assert found["appliance_jobs{state=finished}"] == 0
    assert found["appliance_engine_up"] == 1
    assert found["appliance_engine_pictures"] == 3
    assert found["appliance_engine_info{bundle=little-dream 1.2}{engine=onnxruntime}"] == 1
    assert found["appliance_watchers"] == 0


def test_the_offer_is_the_bundles(box: Box) -> None:
    offer = box.client.get("/v1/offer").get_json()
    assert offer["sizes"] == ["128x128", "192x128", "128x192"]
    assert offer["steps"] == {"minimum": 1, "maximum": 50, "default": 20}
    assert offer["examples"]["es"][0] == "dos personas en la montaña"
    assert offer["locales"] == ["en", "en-GB", "es", "es-419"]
    assert offer["engine"] is None
    box.engine.wake()
    assert box.client.get("/v1/offer").get_json()["engine"] == "onnxruntime"


@pytest.mark.parametrize(
    ("asked", "locale", "prompt"),
    [
        ("es-MX,es;q=0.9", "es-419", "un carro rojo bajo la luna"),
        ("es-ES", "es", "un coche rojo bajo la luna"),
        ("en-AU", "en-GB", "a red apple under the moon"),  # the nearest that has examples is en
        ("fr,es-AR;q=0.5", "es-419", "un carro rojo bajo la luna"),
        ("fr", "en", "a red apple under the moon"),
        ("*", "en", "a red apple under the moon"),
        ("", "en", "a red apple under the moon"),
    ],
)
def test_the_offer_knows_which_locale_is_the_visitors(box: Box, asked: str, locale: str, prompt: str) -> None:
    answer = box.client.get("/v1/offer", headers={"Accept-Language": asked})
    offer = answer.get_json()
    assert (offer["locale"], offer["examples"][locale][1]) == (locale, prompt)
    assert "Accept-Language" in answer.headers["Vary"]
