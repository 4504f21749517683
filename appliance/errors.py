"""Every error a user can meet, as one tree. The message is one sentence that names the remedy.

EnsuenoError                 exit 1   HTTP 500
  BadInput                   exit 2   HTTP 400   what was asked cannot be done as asked
    BadBundle                exit 2   HTTP 400   a model folder that must not be used
    TooLarge                 exit 2   HTTP 413
  NotFound                   exit 1   HTTP 404
  Conflict                   exit 1   HTTP 409   the same job id with another body
  QueueFull                  exit 1   HTTP 429
  Unavailable                exit 1   HTTP 503   not now: try again
  NoRoom                     exit 1   HTTP 507   the disk is (nearly) full
  LeaseLost                  exit 1   HTTP 500   the engine no longer holds this job
  EngineFault                exit 1   HTTP 500   the engine process cannot go on
"""

# ruff: noqa: N818, D101  the tree above names and explains them

from __future__ import annotations


class EnsuenoError(Exception):
    """Base of all; `title` is the short name used in problem+json."""

    status: int = 500
    exit_status: int = 1
    title: str = "Something went wrong"


class BadInput(EnsuenoError):
    status = 400
    exit_status = 2
    title = "Bad input"


class BadBundle(BadInput):
    title = "Bad model bundle"


class TooLarge(BadInput):
    status = 413
    title = "Too large"


class NotFound(EnsuenoError):
    status = 404
    title = "Not found"


class Conflict(EnsuenoError):
    status = 409
    title = "Conflict"


class QueueFull(EnsuenoError):
    status = 429
    title = "Queue full"


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
