"""A route's entry in `openapi.json`, written where the route is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

View = TypeVar("View", bound=Callable[..., Any])
Answer = type[BaseModel] | str  # a model, or a media type
_ATTRIBUTE = "__openapi__"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one route takes and gives."""

    summary: str
    answers: Mapping[int, Answer]
    body: type[BaseModel] | str | None = None
    form: str | None = None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Sequence[int] = ()


def documented(
    answers: Mapping[int, Answer],
    *,
    body: type[BaseModel] | str | None = None,
    form: str | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
    errors: Sequence[int] = (),
) -> Callable[[View], View]:
    """Attach the entry to a view: its docstring's first paragraph says what it does.

    `body` is a model or the name of one of `openapi.py`'s schemas; `form` another, of the same as multipart/form-data.
    """

    def attach(view: View) -> View:
        summary = " ".join((view.__doc__ or "").split("\n\n")[0].split())
        setattr(view, _ATTRIBUTE, Entry(summary, answers, body, form, query or {}, errors))
        return view

    return attach


def entry(view: Callable[..., Any]) -> Entry | None:
    """The view's entry, if it has one."""
    found = getattr(view, _ATTRIBUTE, None)
    return found if isinstance(found, Entry) else None
