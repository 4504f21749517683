"""Settings of `ensueno serve`: command line over ENSUENO_… over the TOML file over the defaults; one name in all.

The file is what `--config` names, or else ENSUENO_CONFIG: so `ensueno` on a box knows that box's settings.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from appliance import durable
from appliance.bundles.slots import Slots
from appliance.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODELS = Path(__file__).resolve().parents[1] / "models"
BUNDLED = MODELS / "emoji-128"
EngineName = Literal["tensorrt", "tensorrt-rtx", "openvino-bf16", "openvino", "onnxruntime"]


class Settings(BaseSettings):
    """Everything a box can be told. Made by `load`."""

    model_config = SettingsConfigDict(env_prefix="ENSUENO_", extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to serve on; 0.0.0.0 for the whole network."
    )
    port: int = Field(default=8080, ge=1, le=65535)
    name: str = Field(
        default="ensueno",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
        description="What the network calls it: NAME.local.",
    )
    hosts: str = Field(default="", description="More names that lead to the box, with commas between them.")
    tls: bool = Field(default=False, description="Serve https, with a certificate of its own.")
    tls_cert: Path | None = Field(default=None, description="The owner's certificate (PEM); serves https.")
    tls_key: Path | None = Field(default=None, description="Its key (PEM).")
    data_dir: Path = Field(default=Path("~/.local/share/ensueno"), description="All that is kept lies here.")
    bundle: Path = Field(default=BUNDLED, description="The model bundle's folder.")
    engine: EngineName | None = Field(default=None, description="The engine to use; the best that passes.")
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads of the engine; all cores.")
    decode_mib: int | None = Field(
        default=None,
        ge=1,
        description="Memory for decoding; above it tile by tile; half of what is free at the start. Where pictures are "
        "tiled, only a number here gives the same one at every start.",
    )
    queue_limit: int = Field(default=100, ge=1, description="Jobs that may wait.")
    reserve_mib: int = Field(default=64, ge=0, description="Disk kept free; below it new jobs are refused.")
    keep_mib: int | None = Field(default=None, ge=1, description="Pictures kept; above it the oldest go; all.")
    keep_days: float | None = Field(default=None, gt=0, description="Days that a picture is kept; for ever.")
    ballast_mib: int = Field(default=8, ge=0, description="Disk laid by, so that a full one can be cleaned.")
    prompt_filter: str | None = Field(
        default=None, description="Words it does not draw: `children`, or a file with one a line; none: all."
    )
    picture_check: Literal["off", "on"] = Field(
        default="off", description="Blur what the bundle's safety checker finds; needs a bundle that has one."
    )
    mqtt: str | None = Field(default=None, description="The broker, mqtt://… or mqtts://…; none: no MQTT.")
    mqtt_device: str | None = Field(default=None, description="This box's name in topics; the host's name.")
    mqtt_pool: str = Field(default="default", description="The pool whose jobs it shares; empty: none.")
    mqtt_ca: Path | None = Field(default=None, description="Who vouches for the broker; the system's own list.")
    mqtt_certificate: Path | None = Field(default=None, description="This box's certificate (PEM).")
    mqtt_key: Path | None = Field(default=None, description="The certificate's key (PEM).")
    mqtt_token_file: Path | None = Field(default=None, description="A file with the password or token, for mqtts://.")
    mqtt_owner_key: Path | None = Field(default=None, description="The owner's public key (PEM): allows commands.")
    mqtt_home: bool = Field(default=True, description="Home Assistant finds the box by itself.")
    mqtt_home_updates: bool = Field(default=False, description="It may activate a newer installed bundle too.")
    watchdog_seconds: float = Field(default=300, ge=5, description="An engine silent this long is restarted.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings

    @property
    def secure(self) -> bool:
        """Whether it serves https."""
        return self.tls or self.tls_cert is not None or self.tls_key is not None

    @property
    def scheme(self) -> str:
        return "https" if self.secure else "http"

    @property
    def access_path(self) -> Path:
        """Who has been let in."""
        return self.data_dir / "access.json"

    @property
    def journal_path(self) -> Path:
        return self.data_dir / "journal.db"

    @property
    def images_dir(self) -> Path:
        return self.data_dir / "images"

    @property
    def decode_budget(self) -> int | None:
        """Bytes."""
        return None if self.decode_mib is None else self.decode_mib << 20

    @property
    def golden_dir(self) -> Path:
        """Latents of golden pictures, as ONNX Runtime draws them."""
        return self.data_dir / "golden"

    @property
    def attempts_dir(self) -> Path:
        """Marks of engines that are being loaded, or died of it."""
        return self.data_dir / "attempts"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints"


def load(options: dict[str, Any], config: Path | None = None) -> Settings:
    """Settings from command-line options (None = not given), environment and file. Raises `BadInput`, `BadBundle`.

    Where no file is named, it is ENSUENO_CONFIG's; where no bundle is, it is the active slot's.
    """
    given = {key: value for key, value in options.items() if value is not None}
    file = config or os.environ.get("ENSUENO_CONFIG")
    from_file = _read(Path(file)) if file else {}
    environment = {key for key in Settings.model_fields if f"ENSUENO_{key}".upper() in os.environ}
    merged = {key: value for key, value in from_file.items() if key not in environment} | given
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise BadInput(f"The setting {where}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None
    paths = {name: getattr(settings, name).expanduser() for name in ("data_dir", "bundle")}
    _look_into(paths["data_dir"])
    if "bundle" not in settings.model_fields_set:
        paths["bundle"] = Slots(paths["data_dir"]).active() or BUNDLED
    return settings.model_copy(update=paths)


def _look_into(data_dir: Path) -> None:
    """Raises `BadInput` where nothing could be kept; one that is not there yet can be made."""
    try:
        (data_dir / "journal.db").stat()
    except NotADirectoryError:
        raise BadInput(f"{data_dir} is no folder: choose another --data-dir.") from None
    except PermissionError:
        raise durable.of_another(data_dir) from None
    except OSError:  # whoever uses it tells more
        return


def _read(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return settings
    except OSError:
        raise BadInput(f"The configuration file {path} cannot be read: check --config or ENSUENO_CONFIG.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}.") from None
