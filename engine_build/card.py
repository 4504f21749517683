"""`ensueno.json`, optional beside model_index.json: what a config cannot say (name, licence, examples)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from appliance.errors import BadInput
from appliance.locales import SPELLING
from appliance.pipeline.manifest import check_locale_prompts


def _spelled(locale: str) -> str:
    if not SPELLING.fullmatch(locale):
        raise ValueError(f"{locale[:40]!r} must look like en, es or en-GB")
    return locale


Pixels = Annotated[int, Field(ge=1, le=8192)]
Locale = Annotated[str, AfterValidator(_spelled)]


class Card(BaseModel):
    """Every field may be absent; the command line wins over it, the configs fill what both leave open.

    Other fields (sources, trained steps ...) are kept for `source/ensueno.json`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    version: str | None = None
    licence: str | None = None
    default_steps: Annotated[int, Field(ge=1, le=100)] | None = None
    default_guidance: Annotated[float, Field(ge=0, le=20)] | None = None
    default_locale: Locale | None = None
    sizes: list[tuple[Pixels, Pixels]] = []
    examples: dict[str, list[str]] = {}
    locales: list[Locale] = []
    locale_prompts: dict[str, str] = {}

    @field_validator("locale_prompts")
    @classmethod
    def _templates(cls, prompts: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        return check_locale_prompts(prompts, info.data.get("locales") or ["en"])

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card, or an empty one where there is no file."""
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{path.name} cannot be read as text: write it again.") from None
        except ValidationError as error:
            raise BadInput(f"{path.name}: {_first(error)}") from None

    def with_options(self, **options: object) -> Card:
        """The card with what the command line gave (None: not given)."""
        given = {key: value for key, value in options.items() if value not in (None, [])}
        try:
            return Card.model_validate({**self.model_dump(), **given})
        except ValidationError as error:
            raise BadInput(_first(error)) from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "json"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}."
