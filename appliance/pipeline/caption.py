"""What the model reads: a person's words inside the template of their locale, as in the captions it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.locales import resolve
from appliance.pipeline.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Caption:
    """`text` is what the tokenizer gets; the person's own words are `text[begin:end]`."""

    text: str
    begin: int
    end: int

    def unread(self, cut: int | None) -> str | None:
        """The end of the person's own words when the tokenizer reads `text[:cut]` only, or None."""
        return None if cut is None else self.text[max(cut, self.begin) : self.end].strip() or None


def caption(words: str, locale: str, manifest: Manifest) -> Caption:
    """The words as the bundle's model reads them; empty ones stay empty, for nothing is the unconditional caption."""
    place = resolve(locale, manifest.locales) if words else None
    before, _, after = manifest.locale_prompts.get(place or "", "{}").partition("{}")
    return Caption(before + words + after, len(before), len(before) + len(words))
