"""Commands of the owner: signed, for this box, once, before they expire. Off unless the owner's public key is given.

What a command does is one of the box's own programs or the journal's own calls: nothing that comes from the wire ever
becomes part of a command line but a bundle's name, which is checked.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from appliance.errors import BadInput, EnsuenoError
from appliance.ids import JOB_ID
from appliance.journal import Journal
from appliance.progress import Board, engine_alive
from mqtt.messages import BEGUN, MAX_SMALL, Command, CommandResult, read, read_json
from mqtt.program import own_command
from mqtt.signing import check, owner_key
from mqtt.store import Store

LONGEST = 24 * 3600  # seconds that a command may be valid: so long its nonce is kept
_LAST_SECONDS = 10.0  # that a link which is to stop waits for a deed it has begun
_NOT_KNOWN = "It is not known whether it was done: look at the box, then sign another."
LIMITS = {"queue": 10_000, "steps": 1000, "count": 100, "pixels": 1 << 24}  # what may be limited, and up to where

Facts = dict[str, str | int | float | bool]
Deed = Callable[[Mapping[str, Any]], tuple[str, Facts]]


class Commands:
    """Takes commands; `deeds` maps each allowed name to what does it."""

    def __init__(
        self, device: str, key: Path, store: Store, deeds: Mapping[str, Deed], clock: Callable[[], float] = time.time
    ) -> None:
        self._device = device
        self._key = owner_key(key)
        self._store = store
        self._deeds = deeds
        self._clock = clock
        self._worker = ThreadPoolExecutor(1)  # a deed may take minutes, and the link has other work
        self._doing: dict[str, tuple[Command, Future[CommandResult]]] = {}
        self.refused = 0

    def take(self, payload: bytes) -> CommandResult | None:
        """Begin it (`results` will tell), or give the result of having done it. What is not the owner's gets no
        answer at all, only a count."""
        try:
            command = self._checked(payload)
        except BadInput as error:
            self.refused += 1
            logging.warning("A command was refused: %s", error)
            return None
        known = self._known(command.nonce)
        if known is not None:
            return known
        begun = self._result(command, BEGUN)
        try:
            self._remember(command, begun)
        except EnsuenoError as error:  # not begun: what is not remembered might be done twice
            return self._result(command, str(error))
        self._doing[command.nonce] = command, self._worker.submit(self._do, command)
        return begun

    def results(self) -> list[CommandResult]:
        """Those that were done since the last look."""
        over = [nonce for nonce, (_, future) in self._doing.items() if future.done()]
        found = []
        for nonce in over:
            command, future = self._doing.pop(nonce)
            found.append(future.result())
            try:
                self._remember(command, found[-1])
            except EnsuenoError as error:
                logging.warning("What came of a command could not be kept: %s", error)
        return found

    def close(self) -> list[CommandResult]:
        """The results of what is still being done, as far as it ends soon: a deed may be why the link has to stop."""
        wait([future for _, future in self._doing.values()], _LAST_SECONDS)
        return self.results()

    def _checked(self, payload: bytes) -> Command:
        body = read_json(payload, MAX_SMALL)
        command = read(Command, payload)
        check(body, command.signature, self._key)
        if command.device != self._device:
            raise BadInput(f"The command is for {command.device}: send it to that box.")
        now = self._clock()
        if not now < command.expires <= now + LONGEST:
            raise BadInput("The command is expired, or valid for more than a day: check the clocks and sign it anew.")
        return command

    def _do(self, command: Command) -> CommandResult:
        deed = self._deeds.get(command.name)
        try:
            if deed is None:
                raise BadInput(f"This box does not do {command.name}: upgrade it.")
            detail, facts = deed(command.arguments)
        except EnsuenoError as error:
            return self._result(command, str(error))
        except OSError as error:
            return self._result(command, f"It could not be done ({error}): look at the box, then sign another.")
        return CommandResult(device=self._device, nonce=command.nonce, done=True, detail=detail, facts=facts)

    def _result(self, command: Command, detail: str) -> CommandResult:
        """Not done (yet)."""
        return CommandResult(device=self._device, nonce=command.nonce, done=False, detail=detail)

    def _known(self, nonce: str) -> CommandResult | None:
        row = next(iter(self._store.db.execute("SELECT result FROM nonces WHERE nonce = ?", (nonce,))), None)
        if row is None:
            return None
        known = CommandResult.model_validate_json(row[0])
        unknown = known.detail == BEGUN and nonce not in self._doing
        return known.model_copy(update={"detail": _NOT_KNOWN}) if unknown else known

    def _remember(self, command: Command, result: CommandResult) -> None:
        """Before it is done and after: a command whose link died in the middle is not done twice."""
        with self._store.write() as db:
            db.execute("DELETE FROM nonces WHERE expires < ?", (self._clock() - LONGEST,))
            values = (command.nonce, command.expires, result.model_dump_json())
            db.execute("INSERT OR REPLACE INTO nonces VALUES (?, ?, ?)", values)


def deeds(
    board: Board, journal: Journal, data_dir: Path, figures: Callable[[], Mapping[str, float]]
) -> dict[str, Deed]:
    """What this box does for its owner."""

    def restart_engine(arguments: Mapping[str, Any]) -> tuple[str, Facts]:
        pulse = board.pulse()
        if pulse is None or not engine_alive(pulse):
            raise EnsuenoError("No engine is running: see `ensueno doctor` on the box.")
        os.kill(pulse.pid, signal.SIGTERM)
        return "The engine was asked to stop and is started again.", {}

    def diagnostics(arguments: Mapping[str, Any]) -> tuple[str, Facts]:
        return "How the box is now.", {**figures()}

    def activate(arguments: Mapping[str, Any]) -> tuple[str, Facts]:
        name = arguments.get("bundle")
        if not isinstance(name, str) or not JOB_ID.fullmatch(name):
            raise BadInput("Name the bundle, as `ensueno model list` shows it.")
        return own_command(data_dir, "model", "activate", name), {}

    def rollback(arguments: Mapping[str, Any]) -> tuple[str, Facts]:
        return own_command(data_dir, "model", "rollback"), {}

    def limits(arguments: Mapping[str, Any]) -> tuple[str, Facts]:
        for name, value in arguments.items():
            if name not in LIMITS or type(value) is not int or not 0 <= value <= LIMITS[name]:
                known = ", ".join(f"{name} (up to {most})" for name, most in LIMITS.items())
                raise BadInput(f"Limits are whole numbers, 0 for none: {known}.")
        journal.limit(arguments)
        return "What the owner allows now; what is not named is as the box and its bundle have it.", {
            **journal.limits()
        }

    return {
        "restart_engine": restart_engine,
        "limits": limits,
        "diagnostics": diagnostics,
        "activate": activate,
        "rollback": rollback,
    }
