"""How a check speaks: it tells figures and findings as soon as it knows them, or that it cannot be made here."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[..., None]  # tell(name=value, …)


class NotHere(Exception):  # noqa: N818
    """The check cannot be made on this machine; the message says what is missing. It is no failure."""
