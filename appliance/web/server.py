"""gunicorn around the app: one worker process with threads, no model, little memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from appliance.web.connection import Connection, Shares
from appliance.web.limits import MAX_BODY, PATIENCE, THREADS

if TYPE_CHECKING:
    from flask import Flask

    from appliance.images import ImageStore
    from appliance.journal import Journal
    from appliance.pipeline.manifest import Manifest
    from appliance.progress import Board


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Worker(ThreadWorker):  # type: ignore[misc]
    """Drops who is too slow or takes too much. On SIGTERM the streams end at once (their pages come back by
    themselves), so stopping is quick."""

    def enqueue_req(self, conn: Any) -> None:
        if not isinstance(conn.sock, Connection):
            conn.sock = Connection(conn.sock)
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        with self.app.shares.thread(conn.client[0]) as granted:
            if not granted:
                return False
            conn.sock.deadline = time.monotonic() + self.app.patience
            kept = super().handle(conn)
            if not kept:
                conn.sock.part()
            return kept

    def handle_exit(self, sig: int, frame: object) -> None:
        self.app.hang_up()
        super().handle_exit(sig, frame)


class Server(BaseApplication):  # type: ignore[misc]
    """`Server(make_app, address).run()` serves until SIGTERM. The app is made in the worker process."""

    def __init__(
        self, make_app: Callable[[], Flask], address: Address, threads: int = THREADS, patience: float = PATIENCE
    ) -> None:
        self._make_app = make_app
        self._address = address
        self._threads = threads
        self.patience = patience
        self.shares = Shares(threads - threads // 4)
        self.hang_up: Callable[[], None] = lambda: None  # until there is an app; a signal handler must not import
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._figures().items():
            if name in self.cfg.settings:  # some are newer than the oldest gunicorn that will do
                self.cfg.set(name, value)

    def load(self) -> Flask:
        from appliance.web.services import KEY

        app = self._make_app()
        self.hang_up = app.extensions[KEY].switchboard.close
        return app

    def _figures(self) -> dict[str, Any]:
        return {
            "bind": [str(self._address)],
            "worker_class": f"{__name__}.Worker",
            "workers": 1,
            "threads": self._threads,
            "worker_connections": 256,
            "timeout": 60,
            "graceful_timeout": 5,
            "keepalive": 15,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "limit_request_line": 2048,
            "limit_request_fields": 64,
            "limit_request_field_size": 4096,
            "forwarded_allow_ips": "",
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 gunicorn makes a private file in it
            "control_socket_disable": True,
            "pre_request": close_after_a_large_body,
            "proc_name": "ensueno-web",
        }


def close_after_a_large_body(worker: object, request: Any) -> None:
    """A body over the limit is refused by its length alone: answer, then close without reading it."""
    for name, value in request.headers:
        if name == "CONTENT-LENGTH" and (not value.isdecimal() or int(value) > MAX_BODY):
            request.force_close()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the web process must know, as plain values."""

    host: str
    port: int
    data_dir: str
    journal: str
    images: str
    bundle: str
    queue_limit: int = 100
    reserve_mib: int = 64


class Parts(NamedTuple):
    """The box's own collaborators, opened."""

    journal: Journal
    store: ImageStore
    board: Board
    manifest: Manifest


def open_parts(plan: Plan) -> Parts:
    """Open what the plan names. Raises what is wrong with it, in one sentence."""
    from appliance.images import ImageStore
    from appliance.journal import Journal
    from appliance.pipeline.manifest import Bundle
    from appliance.progress import Board, board_folder

    manifest = Bundle.open(Path(plan.bundle)).manifest
    journal = Journal(Path(plan.journal), queue_limit=plan.queue_limit, reserve=plan.reserve_mib << 20)
    return Parts(journal, ImageStore(Path(plan.images)), Board(board_folder(Path(plan.data_dir))), manifest)


def make_app(plan: Plan) -> Flask:
    """The app of a box."""
    from appliance.web import Limits, create_app

    return create_app(**open_parts(plan)._asdict(), limits=Limits(disk=Path(plan.data_dir)))


def serve(plan: Plan, threads: int = THREADS, patience: float = PATIENCE) -> None:
    """Serve until SIGTERM or SIGINT."""
    server: Any = Server(functools.partial(make_app, plan), Address(plan.host, plan.port), threads, patience)
    server.run()
