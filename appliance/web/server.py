"""gunicorn around the app: one worker process with threads, no model, little memory."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from appliance import logs
from appliance.network.addresses import alone, for_others, names
from appliance.web import watchdog
from appliance.web.connection import Connection, Shares, TlsConnection, tls
from appliance.web.limits import PATIENCE, THREADS, max_body

if TYPE_CHECKING:
    from flask import Flask

    from appliance.config import Settings
    from appliance.images import ImageStore
    from appliance.journal import Journal
    from appliance.keeping import Keeper
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

    def init_process(self) -> None:
        self.app.begin()
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        if not isinstance(conn.sock, Connection | TlsConnection):
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
        self,
        make_app: Callable[[], Flask],
        address: Address,
        threads: int = THREADS,
        patience: float = PATIENCE,
        shown: tuple[str, str] | None = None,
    ) -> None:
        """`shown` is a certificate and its key: then it speaks https alone."""
        self._make_app = make_app
        self.address = address
        self._threads = threads
        self._shown = shown
        self.patience = patience
        self.shares = Shares(threads - threads // 4)
        self.begin: Callable[[], None] = lambda: None  # called once in the worker process, before it serves
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
            "bind": [str(self.address)],
            "worker_class": f"{__name__}.Worker",
            "workers": 1,
            "threads": self._threads,
            "worker_connections": 256,
            "timeout": 60,
            "graceful_timeout": 5,
            "keepalive": 15,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "error",  # its warnings repeat what a broken request said, secrets too
            "limit_request_line": 2048,
            "limit_request_fields": 64,
            "limit_request_field_size": 4096,
            "forwarded_allow_ips": "",
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 gunicorn makes a private file in it
            "control_socket_disable": True,
            "pre_request": close_after_a_large_body,
            "proc_name": "ensueno-web",
        } | self._tls()

    def _tls(self) -> dict[str, Any]:
        if self._shown is None:
            return {}
        cert, key = self._shown
        context = tls(cert, key, self.patience)
        return {
            "certfile": cert,
            "keyfile": key,
            "do_handshake_on_connect": False,  # in the thread, and in time
            "ssl_context": lambda config, default: context,
        }


def close_after_a_large_body(worker: object, request: Any) -> None:
    """A body over the limit is refused by its length alone: answer, then close without reading it."""
    for name, value in request.headers:
        if name == "CONTENT-LENGTH" and (not value.isdecimal() or int(value) > max_body(request.path)):
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
    keep_mib: int | None = None
    keep_days: float | None = None
    ballast_mib: int = 8
    prompt_filter: str | None = None
    name: str = "ensueno"
    hosts: Sequence[str] = ("localhost",)  # the names it goes by
    access: str = ""  # the file of who has been let in
    paired: bool = False  # nobody else is served
    cert: str | None = None
    key: str | None = None
    fingerprint: str | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.cert is None else "https"


def plan_of(settings: Settings) -> Plan:
    """The plan that the settings make."""
    from appliance.network.certificate import certificate

    own_names = names(settings.name, settings.hosts, settings.host)
    shown = certificate(settings, own_names)
    return Plan(
        host=settings.host,
        port=settings.port,
        data_dir=str(settings.data_dir.resolve()),
        journal=str(settings.journal_path.resolve()),
        images=str(settings.images_dir.resolve()),
        bundle=str(settings.bundle.resolve()),
        queue_limit=settings.queue_limit,
        reserve_mib=settings.reserve_mib,
        keep_mib=settings.keep_mib,
        keep_days=settings.keep_days,
        ballast_mib=settings.ballast_mib,
        prompt_filter=settings.prompt_filter,
        name=settings.name,
        hosts=sorted(own_names),
        access=str(settings.access_path.resolve()),
        paired=not alone(settings.host),
        cert=None if shown is None else str(shown.cert),
        key=None if shown is None else str(shown.key),
        fingerprint=None if shown is None else shown.fingerprint,
    )


class Parts(NamedTuple):
    """The box's own collaborators, opened."""

    journal: Journal
    store: ImageStore
    board: Board
    manifest: Manifest


def open_parts(plan: Plan) -> Parts:
    """Open what the plan names. Raises what is wrong with it, in one sentence."""
    from appliance.device.admission import Admission
    from appliance.images import ImageStore
    from appliance.journal import Journal
    from appliance.pipeline.manifest import Bundle
    from appliance.progress import Board, board_folder
    from appliance.prompt_filter import filtered

    manifest = Bundle.open(Path(plan.bundle)).manifest
    board = Board(board_folder(Path(plan.data_dir)))
    journal = Journal(
        Path(plan.journal),
        queue_limit=plan.queue_limit,
        reserve=plan.reserve_mib << 20,
        admit=filtered(plan.prompt_filter, Admission(board, manifest.offer())),
    )
    return Parts(journal, ImageStore(Path(plan.images)), board, manifest)


def make_app(plan: Plan) -> Flask:
    """The app of a box."""
    from appliance.device.health import Lately, look
    from appliance.keeping import begin
    from appliance.people.access import Access
    from appliance.web import Limits, create_app

    data_dir = Path(plan.data_dir)
    parts = open_parts(plan)
    keeper = keeper_of(plan, parts)
    begin(keeper)
    return create_app(
        **parts._asdict(),
        keeper=keeper,
        limits=Limits(disk=data_dir),
        health_of_box=Lately(functools.partial(look, data_dir, plan.reserve_mib << 20)),
        addresses=functools.partial(for_others, plan.host, plan.port, plan.name, plan.scheme),
        hosts=frozenset(plan.hosts),
        access=Access(Path(plan.access)) if plan.paired else None,
        fingerprint=plan.fingerprint,
    )


def keeper_of(plan: Plan, parts: Parts) -> Keeper:
    """Who removes pictures, by the plan's rules."""
    from appliance.ballast import Ballast
    from appliance.keeping import Keeper, Rules

    return Keeper(
        parts.journal,
        parts.store,
        Ballast(Path(plan.data_dir), plan.ballast_mib << 20, plan.reserve_mib << 20),
        Rules(None if plan.keep_mib is None else plan.keep_mib << 20, plan.keep_days),
    )


def serve(plan: Plan, threads: int = THREADS, patience: float = PATIENCE) -> None:
    """Serve until SIGTERM or SIGINT."""
    logs.begin("web")
    shown = None if plan.cert is None or plan.key is None else (plan.cert, plan.key)
    server: Any = Server(functools.partial(make_app, plan), Address(plan.host, plan.port), threads, patience, shown)
    server.begin = functools.partial(_begin, plan)
    server.run()


def _begin(plan: Plan) -> None:
    """What the worker process does besides serving: feed its watchdog, follow the bundle, answer for its name."""
    from appliance.web import follow  # here: the parent process needs no room for it

    watchdog.begin(plan.host, plan.port, plan.scheme)
    follow.begin(Path(plan.data_dir), end=lambda: os.kill(os.getppid(), signal.SIGTERM))
    if not alone(plan.host):
        from appliance.network import mdns

        mdns.begin(plan.name, plan.port, plan.scheme)
