"""Settings of `ensueno serve`: command line over ENSUENO_… over the TOML file over the defaults; one name in all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from appliance.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODELS = Path(__file__).resolve().parents[1] / "models"
BUNDLED = MODELS / "emoji-64"


class Settings(BaseSettings):
    """Everything a box can be told. Made by `load`."""

    model_config = SettingsConfigDict(env_prefix="ENSUENO_", extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to serve on; 0.0.0.0 for the whole network.")
    port: int = Field(default=8080, ge=1, le=65535)
    data_dir: Path = Field(default=Path("~/.local/share/ensueno"), description="All that is kept lies here.")
    bundle: Path = Field(default=BUNDLED, description="The model bundle's folder.")
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads of the engine; all cores.")
    queue_limit: int = Field(default=100, ge=1, description="Jobs that may wait.")
    reserve_mib: int = Field(default=64, ge=0, description="Disk kept free; below it new jobs are refused.")
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
    def journal_path(self) -> Path:
        return self.data_dir / "journal.db"

    @property
    def images_dir(self) -> Path:
        return self.data_dir / "images"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints"


def load(options: dict[str, Any], config: Path | None = None) -> Settings:
    """Settings from command-line options (None = not given), environment and file. Raises `BadInput`."""
    given = {key: value for key, value in options.items() if value is not None}
    from_file = _read(config) if config else {}
    environment = {key for key in Settings.model_fields if f"ENSUENO_{key}".upper() in os.environ}
    merged = {key: value for key, value in from_file.items() if key not in environment} | given
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise BadInput(f"The setting {where}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None
    paths = {name: getattr(settings, name).expanduser() for name in ("data_dir", "bundle")}
    return settings.model_copy(update=paths)


def _read(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return settings
    except OSError:
        raise BadInput(f"The configuration file {path} cannot be read.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}.") from None
