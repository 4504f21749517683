"""Every error a user can meet, as one tree. The message is one sentence that names the remedy.

EnsuenoError                 exit 1   HTTP 500
  BadInput                   exit 2   HTTP 400   what was asked cannot be done as asked
    BadBundle                exit 2   HTTP 400   a model folder that must not be used
    TooLarge                 exit 2   HTTP 413
    NoEngine                 exit 2   HTTP 400   an engine that cannot be had here; says nothing against a bundle
      NoPlans                exit 2   HTTP 400
    NotOurs                  exit 2   HTTP 409   a file of the box that this process may not use
  NotLetIn                   exit 1   HTTP 401   nobody knows who is there
  Refused                    exit 1   HTTP 403   known, but not allowed to
  NotFound                   exit 1   HTTP 404
  Conflict                   exit 1   HTTP 409   the same job id with another body
  QueueFull                  exit 1   HTTP 429
  TooMany                    exit 1   HTTP 429   too much asked by one client
  Unavailable                exit 1   HTTP 503   not now: try again
  NoRoom                     exit 1   HTTP 507   the disk is (nearly) full
  LeaseLost                  exit 1   HTTP 500   the engine no longer holds this job
  EngineFault                exit 1   HTTP 500   the engine process cannot go on
  BadPassport                exit 1   HTTP 500   a plan that must not be opened here
"""

# ruff: noqa: N818, D101  the tree above names and explains them

from __future__ import annotations


class EnsuenoError(Exception):
    """Base of all; `title` is the short name used in problem+json.

    `retry_after` is in how many seconds the same may succeed, where that is known.
    """

    status: int = 500
    exit_status: int = 1
    title: str = "Something went wrong"

    def __init__(self, *sentence: str, retry_after: float | None = None) -> None:
        super().__init__(*sentence)
        self.retry_after = retry_after


class BadInput(EnsuenoError):
    status = 400
    exit_status = 2
    title = "Bad input"


class BadBundle(BadInput):
    title = "Bad model bundle"


def kept_status(error: EnsuenoError) -> int:
    """The exit status of a process that systemd keeps and, after a 2, leaves to lie until its settings are mended.

    A bad bundle is no 2 there: it may be on trial, and then the engine brings the one before back.
    """
    return 1 if isinstance(error, BadBundle) else error.exit_status


class TooLarge(BadInput):
    status = 413
    title = "Too large"


class NoEngine(BadInput):
    title = "No such engine here"


class NoPlans(NoEngine):
    title = "No plans of this bundle for this machine"


class NotOurs(BadInput):
    status = 409
    title = "Not ours"


class NotLetIn(EnsuenoError):
    status = 401
    title = "Who is there?"


class Refused(EnsuenoError):
    status = 403
    title = "Refused"


class NotFound(EnsuenoError):
    status = 404
    title = "Not found"


class Conflict(EnsuenoError):
    status = 409
    title = "Conflict"


class QueueFull(EnsuenoError):
    status = 429
    title = "Queue full"


class TooMany(EnsuenoError):
    status = 429
    title = "Too much at once"


class Unavailable(EnsuenoError):
    status = 503
    title = "Not available now"


class NoRoom(EnsuenoError):
    status = 507
    title = "No room left"


class LeaseLost(EnsuenoError):
    title = "Lease lost"


class EngineFault(EnsuenoError):
    title = "Engine fault"


class BadPassport(EnsuenoError):
    title = "Bad passport"
