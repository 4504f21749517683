"""A plan's passport: what it was built from and for, and the hash of every plan beside it.

A plan is code that the GPU's library executes, so none is opened unless its passport carries the seal of this box: an
HMAC-SHA256 with a key that only the user of the building and the running process can read. It guards against plans
that were copied, damaged or swapped, not against somebody who already is that user.

`<data-dir>/engines/<passport id>/` holds `passport.json` and one `<component>.plan` for each network; the id is a hash
of everything that a plan depends on (`Inputs`), so another TensorRT, GPU or bundle looks in another folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance import durable
from appliance.errors import BadPassport
from appliance.pipeline.manifest import digest

PASSPORT = "passport.json"
KEY = "passport.key"
KEY_BYTES = 32
_LARGEST = 1 << 20

Target = Literal["tensorrt", "tensorrt-rtx"]
Precision = Literal["float32", "float16", "bfloat16", "int8", "fp8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dims = tuple[int, ...]
PassportState = Literal["ok", "mismatch", "missing", "none"]  # as telemetry tells it of the engine in use


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(_Part):
    """The shapes one input may take in a plan: smallest, the one it is tuned for, largest."""

    min: Dims
    opt: Dims
    max: Dims


Profile = dict[str, Range]  # by input tensor


class Source(_Part):
    """What one plan is built from: its ONNX file and weights, the precision of its arithmetic, its input shapes."""

    onnx: Sha256
    weights: Sha256 | None
    precision: Precision
    profile: Profile


class Inputs(_Part):
    """Everything a bundle's plans depend on. `gpu` is None in a plan for every GPU of an SM (TensorRT for RTX)."""

    bundle: str
    target: Target
    version: str = Field(description="Of TensorRT, or of TensorRT for RTX.")
    sm: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")]
    gpu: str | None
    l4t: str | None = Field(description="Of the Jetson's system; None on other machines.")
    components: dict[str, Source]

    @property
    def id(self) -> str:
        """The passport id: equal inputs, equal id."""
        return hashlib.sha256(_canonical(self.model_dump(mode="json"))).hexdigest()[:16]


class Plan(_Part):
    """One plan as it was written."""

    sha256: Sha256
    bytes: int = Field(ge=1)


class GoldenResult(_Part):
    """How the golden pictures came out: `cosine` is the smallest of their latents against ONNX Runtime's."""

    passed: bool
    cosine: float | None = None
    reason: str | None = None


class Passport(_Part):
    """The whole of a passport. It grows plan by plan while a build runs; `golden` is None until pictures were drawn."""

    inputs: Inputs
    plans: dict[str, Plan] = {}
    golden: GoldenResult | None = None

    @property
    def complete(self) -> bool:
        """Every component has its plan."""
        return self.plans.keys() == self.inputs.components.keys()


def read_passport(folder: Path, key: bytes) -> Passport:
    """The passport in `folder`, if this box sealed it. Raises `BadPassport`."""
    path = folder / PASSPORT
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadPassport(f"{path} cannot be read ({error.strerror}): build the plans again.") from None
    try:
        outer = json.loads(data) if len(data) <= _LARGEST else None
    except (ValueError, RecursionError):
        outer = None
    if not (isinstance(outer, dict) and isinstance(outer.get("seal"), str) and "passport" in outer):
        raise BadPassport(f"{path} is no passport: build the plans again.")
    if not hmac.compare_digest(outer["seal"].encode(), _seal(outer["passport"], key).encode()):
        raise BadPassport(
            f"{path} does not carry the seal of this box (it was changed, or comes from another): "
            "build the plans again on this one."
        )
    try:
        return Passport.model_validate_json(json.dumps(outer["passport"]))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise BadPassport(f"{path} is of another version of Ensueño ({where}): build the plans again.") from None


def write_passport(folder: Path, passport: Passport, key: bytes) -> None:
    """Seal it and put it into `folder`, in one step. Raises `NoRoom`."""
    inner = passport.model_dump(mode="json")
    text = json.dumps({"passport": inner, "seal": _seal(inner, key)}, indent=2)
    durable.write(folder / PASSPORT, text.encode() + b"\n")


def check_inputs(passport: Passport, here: Inputs) -> None:
    """Hold the plans to this machine and bundle. Raises `BadPassport` that says what differs."""
    differing = list(_differences("", passport.inputs.model_dump(mode="json"), here.model_dump(mode="json")))
    if differing:
        raise BadPassport(f"The plans are for {'; '.join(differing[:3])}: build them again on this machine.")
    if not passport.complete:
        missing = ", ".join(sorted(passport.inputs.components.keys() - passport.plans.keys()))
        raise BadPassport(f"The plan of {missing} is not built yet: start the build again, it goes on where it was.")


@contextmanager
def opened_plan(folder: Path, component: str, passport: Passport) -> Iterator[BinaryIO]:
    """The plan's file, rewound, after its size and hash were checked on the very handle. Raises `BadPassport`."""
    path = plan_path(folder, component)
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadPassport(f"{path} cannot be read ({error.strerror}): build the plans again.") from None
    with file:
        known = passport.plans.get(component)
        if known is None or os.fstat(file.fileno()).st_size != known.bytes or digest(file) != known.sha256:
            raise BadPassport(f"{path} is not the plan that was built (sha256 differs): build the plans again.")
        file.seek(0)
        yield file


def plan_path(folder: Path, component: str) -> Path:
    """Where a component's plan lies."""
    return folder / f"{component}.plan"


def engines_folder(data_dir: Path) -> Path:
    """Where all plans of a box lie."""
    return data_dir / "engines"


def read_key(data_dir: Path) -> bytes:
    """The box's key, made at its first use. Raises `BadPassport` when others could read it."""
    path = data_dir / KEY
    try:
        durable.private_folder(data_dir)
        if not path.exists():
            _make_key(path)
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise BadPassport(f"{path} cannot be used ({error.strerror}): give its folder to the box's user.") from None
    if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid != os.geteuid():
        raise BadPassport(f"Others can read or own {path}: delete it and build the plans again, which makes a new key.")
    if len(key) != KEY_BYTES:
        raise BadPassport(f"{path} is damaged: delete it and build the plans again, which makes a new key.")
    return key


def _make_key(path: Path) -> None:
    """Written whole beside its place and linked there, so that of two processes at once one key wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    durable.write(draft, secrets.token_bytes(KEY_BYTES), mode=0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    durable.sync_folder(path.parent)


def _seal(inner: Any, key: bytes) -> str:
    return hmac.new(key, _canonical(inner), hashlib.sha256).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _differences(where: str, built: Any, here: Any) -> Iterator[str]:
    """`sm 8.6 (here: 8.7)` for every leaf that is not the same."""
    if isinstance(built, dict) and isinstance(here, dict):
        for name in {**built, **here}:
            yield from _differences(f"{where}.{name}" if where else name, built.get(name), here.get(name))
    elif built != here:
        yield f"{where} {_brief(built)} (here: {_brief(here)})"


def _brief(value: Any) -> str:
    return "none" if value is None else str(value)[:60]
