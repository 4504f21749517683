"""Presence over a real broker: born, gone, and never buried by an older session's will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mqtt import topics
from mqtt.messages import Presence
from tests.mqtt.rig import Ear, until

Make = Callable[..., Any]


def states(ear: Ear, name: str) -> list[str]:
    return [body["state"] for body in ear.bodies(topics.presence(name))]


def test_a_box_is_online_and_after_a_stop_in_good_order_offline(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.presence(name))
    box = make_box(name)
    until(lambda: states(ear, name) == ["online"], box, ear)
    box.link._birth.part(box.link.connection.publish)
    box.link.connection.close()
    until(lambda: states(ear, name)[-1] == "offline", ear)


def test_an_older_sessions_late_will_is_answered(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.presence(name))
    box = make_box(name)
    until(lambda: states(ear, name) == ["online"], box, ear)
    late = Presence(device=name, state="offline", session=0, boot=box.link._store.boot)
    ear.say(topics.presence(name), late.as_bytes(), retain=True)
    until(lambda: states(ear, name)[-2:] == ["offline", "online"], box, ear)


def test_each_start_has_a_higher_session(make_box: Make, make_ear: Make, name: str) -> None:
    ear = make_ear(topics.presence(name))
    box = make_box(name)
    box.die()
    box.rise()
    until(lambda: len({body["session"] for body in ear.bodies(topics.presence(name))}) == 2, box, ear)
    sessions = [body["session"] for body in ear.bodies(topics.presence(name))]
    assert sessions == sorted(sessions)


def test_two_devices_with_one_name_are_noticed_and_do_not_answer_each_other_for_ever(
    make_box: Make, make_ear: Make, name: str
) -> None:
    ear = make_ear(topics.presence(name))
    first = make_box(name, folder="first")
    second = make_box(name, folder="second")
    until(lambda: second.link._birth.doubles + first.link._birth.doubles >= 2, first, second, ear)
    pauses = [box.link.connection._pause for box in (first, second)]
    assert max(pauses) > 0.5  # each time one of them is put out it stays away longer
    assert len(states(ear, name)) < 20
