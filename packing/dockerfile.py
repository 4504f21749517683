"""A Dockerfile as stages of steps, so that its own COPY and RUN can be run elsewhere than in a container engine.

Only the notation of `Dockerfile.l4t` is read, without heredocs and escape directives. What is not known is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from appliance.errors import BadInput

STEPS = ("RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER")
ABOUT_THE_START = ("HEALTHCHECK", "ENTRYPOINT", "CMD", "EXPOSE", "VOLUME", "LABEL")
_FLAG = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S+))?\s+")


@dataclass(frozen=True)
class Step:
    """One instruction: its flags (`--mount=…` as ("mount", "…")) apart from the rest of its text."""

    word: str
    text: str
    flags: tuple[tuple[str, str], ...] = ()

    def needs(self) -> str | None:
        """The other stage that a COPY or a mount takes files from."""
        for name, value in self.flags:
            if name == "from":
                return value
            if name == "mount":
                mounted = dict(part.partition("=")[::2] for part in value.split(","))
                if "from" in mounted:
                    return mounted["from"]
        return None


@dataclass
class Stage:
    """From one FROM to the next; `name` is "" where it has none."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    """`arguments` are those before the first FROM, with their defaults."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]

    def way_to_the_last(self) -> list[Stage]:
        """The stages that the last one is made of, the first of them first; FROM's variables are filled in."""
        named = {stage.name: stage for stage in self.stages if stage.name}
        way = [self.stages[-1]]
        while (base := filled(way[-1].base, self.arguments)) in named:
            way.append(named[base])
        return way[::-1]


def parse(text: str) -> Dockerfile:
    """Raises `BadInput` for an instruction that is not known or stands before FROM."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in _instructions(text.splitlines()):
        word, _, rest = line.partition(" ")
        word, rest = word.upper(), rest.strip()
        if word == "FROM":
            base, _, name = re.sub(r"\s+as\s+", " ", rest, flags=re.I).partition(" ")
            stages.append(Stage(base, name.strip()))
        elif word == "ARG" and not stages:
            name, _, default = rest.partition("=")
            arguments[name] = default
        elif stages and word in (*STEPS, *ABOUT_THE_START):
            stages[-1].steps.append(_step(word, rest))
        else:
            raise BadInput(f"The Dockerfile's line «{line[:60]}» is not understood here: write it as the others are.")
    if not stages:
        raise BadInput("The Dockerfile has no FROM: name what it starts from.")
    return Dockerfile(arguments, tuple(stages))


def _instructions(lines: Iterable[str]) -> Iterator[str]:
    """Whole instructions: comments gone, also those between continued lines; a backslash joins a line with the next."""
    whole = ""
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole += line.rstrip() if whole else line.strip()
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        yield whole
        whole = ""
    if whole:
        yield whole


def _step(word: str, rest: str) -> Step:
    flags = []
    while found := _FLAG.match(rest):
        flags.append((found["name"], found["value"] or ""))
        rest = rest[found.end() :].lstrip()
    return Step(word, rest, tuple(flags))


def filled(text: str, values: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced; an unknown one is empty, as in a shell."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values.get(found[1] or found[2], ""), text)


def assignments(text: str) -> dict[str, str]:
    """Of an ENV: `NAME=value OTHER="a value"`."""
    pairs = re.findall(r'(\w+)=(?:"([^"]*)"|(\S*))', text)
    return {name: quoted or plain for name, quoted, plain in pairs}


def command(text: str) -> list[str]:
    """Of a CMD or ENTRYPOINT in its JSON form, the only one that passes signals on; raises `BadInput` for another."""
    try:
        words = json.loads(text)
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise BadInput(f'«{text[:60]}» is no list of words: write it as ["ensueno", …].')
    return words
