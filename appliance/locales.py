"""Which of a bundle's locales speaks for the one that is asked for, by CLDR's locale inheritance.

A locale inherits from itself less its last subtag, but for those below: they are CLDR 48's
(`supplemental/parentLocales.json` of npm `cldr-core` 48.2.0, Unicode-3.0; UTS #35, "Parent Locales") less two that
change the language (hi-Latn, ht). A script is a subtag like any other here, though CLDR inherits nothing across one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SPELLING = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,4}")

_CHILDREN = {
    "en-001": (
        "en-150 en-AG en-AI en-AU en-BB en-BM en-BS en-BW en-BZ en-CC en-CK en-CM en-CX en-CY en-DG en-DM en-ER"
        " en-FJ en-FK en-FM en-GB en-GD en-GG en-GH en-GI en-GM en-GS en-GY en-HK en-ID en-IE en-IL en-IM en-IN en-IO"
        " en-JE en-JM en-KE en-KI en-KN en-KY en-LC en-LR en-LS en-MG en-MO en-MS en-MT en-MU en-MV en-MW en-MY en-NA"
        " en-NF en-NG en-NR en-NU en-NZ en-PG en-PK en-PN en-PW en-RW en-SB en-SC en-SD en-SG en-SH en-SL en-SS en-SX"
        " en-SZ en-TC en-TK en-TO en-TT en-TV en-TZ en-UG en-VC en-VG en-VU en-WS en-ZA en-ZM en-ZW"
    ),
    "en-150": (
        "en-AT en-BE en-CH en-CZ en-DE en-DK en-EE en-ES en-FI en-FR en-GE en-HU en-IT en-LT en-LV en-NL en-NO en-PL"
        " en-PT en-RO en-SE en-SI en-SK en-UA"
    ),
    "es-419": (
        "es-AR es-BO es-BR es-BZ es-CL es-CO es-CR es-CU es-DO es-EC es-GT es-HN es-JP es-MX es-NI es-PA es-PE es-PR"
        " es-PY es-SV es-US es-UY es-VE"
    ),
    "pt-PT": "pt-AO pt-CH pt-CV pt-FR pt-GQ pt-GW pt-LU pt-MO pt-MZ pt-ST pt-TL",
    "no": "nb nn",
    "zh-Hant-HK": "zh-Hant-MO",
}
_PARENT = {child: parent for parent, children in _CHILDREN.items() for child in children.split()}


def resolve(asked: str, known: Sequence[str]) -> str | None:
    """The locale of `known` nearest to `asked`, as `known` spells it; None when none shares its language.

    Nearest: the ancestor that both have comes earliest in the chain of `asked`, then in that of the known one (an
    ancestor goes before a cousin), then the order of `known`. So of en and en-GB, Australia has en-GB and the US en.
    """
    own = chain(asked)

    def distance(name: str) -> tuple[int, int] | None:
        other = chain(name)
        return next(((steps, other.index(place)) for steps, place in enumerate(own) if place in other), None)

    found = [(near, name) for name in known if (near := distance(name)) is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def chain(name: str) -> list[str]:
    """The locale and those it inherits from, the language last: en-GB, en-001, en. Case and `_` are forgiven."""
    place = _canonical(name)
    found = [place]
    while parent := _PARENT.get(place) or place.rpartition("-")[0]:
        found.append(place := parent)
    return found


def _canonical(name: str) -> str:
    """BCP 47's usual case: language, Script, REGION; whatever follows is in small letters."""
    language, *rest = name.replace("_", "-").strip("-").split("-")
    cased = {2: str.upper, 4: str.title}
    return "-".join([language.lower(), *(cased.get(len(part), str.lower)(part) for part in rest)])
