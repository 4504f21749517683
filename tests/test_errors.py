from __future__ import annotations

import re

import pytest

from appliance import errors
from appliance.errors import EnsuenoError

LINE = re.compile(r"^( *)(\w+) +exit (\d) +HTTP (\d{3})", re.MULTILINE)


def drawn() -> list[tuple[str, str | None, int, int]]:
    """The tree in the docstring: name, parent, exit status, HTTP status."""
    rows, above = [], list[tuple[int, str]]()
    for indent, name, exit_status, status in LINE.findall(errors.__doc__ or ""):
        while above and above[-1][0] >= len(indent):
            above.pop()
        rows.append((name, above[-1][1] if above else None, int(exit_status), int(status)))
        above.append((len(indent), name))
    return rows


@pytest.mark.parametrize(("name", "parent", "exit_status", "status"), drawn())
def test_the_tree_is_as_drawn(name: str, parent: str | None, exit_status: int, status: int) -> None:
    kind: type[EnsuenoError] = getattr(errors, name)
    assert (kind.exit_status, kind.status) == (exit_status, status)
    assert kind.__bases__[0].__name__ == (parent or "Exception")
    assert kind.title


def test_every_error_is_in_the_drawing() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == {name for name, *_ in drawn()}


def test_only_what_was_asked_wrongly_is_exit_status_two() -> None:
    for name, *_ in drawn():
        kind = getattr(errors, name)
        assert (kind.exit_status == 2) == issubclass(kind, errors.BadInput)
        assert (400 <= kind.status < 500) or kind.exit_status == 1
