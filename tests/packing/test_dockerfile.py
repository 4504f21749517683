"""A Dockerfile is read as a container engine reads it, and what is not understood is refused."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BadInput
from packing.dockerfile import Step, assignments, command, filled, parse

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# a comment
ARG KIND=small
FROM big:1 AS large
RUN one
from little:2 as small
ENV A=1 B="two words"
FROM ${KIND} AS middle
RUN --mount=type=bind,from=large,source=/a,target=/b \\
    # a comment within
    first \\
    && second
FROM middle
COPY --chown=1 a b /c/
CMD ["x", "y z"]
"""


def test_stages_and_steps_are_found() -> None:
    read = parse(TEXT)
    assert [(stage.base, stage.name) for stage in read.stages] == [
        ("big:1", "large"),
        ("little:2", "small"),
        ("${KIND}", "middle"),
        ("middle", ""),
    ]
    assert read.stages[3].steps == [Step("COPY", "a b /c/", (("chown", "1"),)), Step("CMD", '["x", "y z"]')]
    run = read.stages[2].steps[0]
    assert (run.text.split(), run.needs()) == (["first", "&&", "second"], "large")
    assert read.stages[3].steps[0].needs() is None


def test_the_way_to_the_last_stage_follows_names_and_arguments() -> None:
    assert [stage.name for stage in parse(TEXT).way_to_the_last()] == ["small", "middle", ""]


@given(st.data())
def test_where_a_line_is_continued_changes_nothing(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.from_regex(r"[a-z&|]{1,6}", fullmatch=True), min_size=1, max_size=8))
    breaks = data.draw(st.lists(st.sampled_from([" ", " \\\n", " \\\n# why\n    ", "   \\\n\n  "]), min_size=8))
    broken = "".join(f"{between}{word}" for word, between in zip(words, breaks, strict=False))
    step = parse(f"FROM a\nRUN{broken}\nUSER b").stages[0].steps[0]
    assert step.text.split() == words[: len(breaks)]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert parse(text).stages


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no FROM"), ("RUN x\nFROM a", "«RUN x»"), ("FROM a\nONBUILD RUN x", "«ONBUILD RUN x»")],
)
def test_what_is_not_understood_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)


def test_values_are_filled_in() -> None:
    assert filled("a-${B} $C $D.", {"B": "1", "C": "2"}) == "a-1 2 ."
    assert assignments('A=1 B="two words" C=') == {"A": "1", "B": "two words", "C": ""}
    assert command('["a", "b c"]') == ["a", "b c"]
    for other in ("a b", "[]", '{"a": 1}', "[1]"):
        with pytest.raises(BadInput, match="no list of words"):
            command(other)


def jetson() -> str:
    return (ROOT / "Dockerfile.l4t").read_text(encoding="utf-8")


def test_hadolint_finds_nothing_in_the_jetsons() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile.l4t"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("jetpack", ["6", "7"])
def test_the_jetsons_runs_as_a_user_of_its_own_and_fetches_nothing_at_its_start(jetpack: str) -> None:
    read = parse(jetson())
    way = type(read)({"JETPACK": jetpack}, read.stages).way_to_the_last()
    assert [stage.name for stage in way] == [f"jetpack-{jetpack}", "python", ""]
    last = {step.word: step.text for step in way[-1].steps}
    assert last["USER"] == "10001:10001"
    assert "appliance.web.ready" in last["HEALTHCHECK"]
    assert command(last["ENTRYPOINT"]) + command(last["CMD"]) == [
        *("ensueno", "serve", "--host", "0.0.0.0", "--data-dir", "/var/lib/ensueno"),
    ]


def test_every_install_of_the_jetsons_is_by_hash_or_from_what_is_there() -> None:
    installs = [
        part
        for stage in parse(jetson()).stages
        for step in stage.steps
        for part in step.text.split("&&")
        if "pip install" in part or "pip wheel" in part
    ]
    assert len(installs) == 4
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_all_that_the_jetsons_copies_is_tracked_and_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in parse(jetson()).stages:
        for step in stage.steps:
            if step.word == "COPY":
                for source in step.text.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert source.split("/")[0] in let_through
