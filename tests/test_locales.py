"""Which of a bundle's locales speaks for the one that is asked for: CLDR's inheritance, whatever the spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.locales import chain, resolve

LOCALES = [
    "en", "en-001", "en-150", "en-AU", "en-CA", "en-DE", "en-GB", "en-US", "es", "es-419", "es-ES", "es-MX", "es-US",
    "fr", "fr-CA", "nb", "nn", "no", "pt", "pt-AO", "pt-BR", "pt-PT", "zh", "zh-Hans-CN", "zh-Hant-MO", "zh-TW",
]  # fmt: skip
locales = st.sampled_from(LOCALES)
bundles = st.lists(locales, unique=True, max_size=6)


@pytest.mark.parametrize(
    "inherited",
    [
        "en-GB en-001 en",
        "en-DE en-150 en-001 en",
        "en-US en",
        "es-MX es-419 es",
        "es-ES es",
        "pt-AO pt-PT pt",
        "de-AT de",
        "nb no",
        "zh-Hant-MO zh-Hant-HK zh-Hant zh",
        "en-GB-oxendict en-GB en-001 en",
    ],
)
def test_a_locale_inherits_as_in_cldr(inherited: str) -> None:
    assert chain(inherited.split()[0]) == inherited.split()


@pytest.mark.parametrize(
    ("asked", "known", "found"),
    [
        ("en-AU", "en en-GB", "en-GB"),
        ("en-DE", "en en-GB", "en-GB"),
        ("en-US", "en en-GB", "en"),
        ("en-US", "en-GB en", "en"),
        ("en-CA", "en en-GB", "en"),  # CLDR had Canada under en-001 once, and moved it
        ("en-AU", "en-GB en-001", "en-001"),
        ("en", "en-GB en-US", "en-US"),
        ("es-MX", "es es-419", "es-419"),
        ("es-US", "en es es-419", "es-419"),
        ("es-ES", "es es-419", "es"),
        ("es-ES", "es-419 es", "es"),
        ("es-MX", "en es", "es"),
        ("pt-BR", "pt-PT", "pt-PT"),
        ("de-AT", "de-CH de-DE", "de-CH"),
        ("zh-Hant-TW", "en zh", "zh"),
        ("en_gb", "en en-GB", "en-GB"),
        ("EN-gb", "en en_GB", "en_GB"),
        ("fr", "en en-GB es es-419", None),
        ("en", "", None),
    ],
)
def test_the_nearest_speaks(asked: str, known: str, found: str | None) -> None:
    assert resolve(asked, known.split()) == found


@given(locales, bundles)
def test_one_answers_exactly_when_one_shares_an_ancestor(asked: str, known: list[str]) -> None:
    found = resolve(asked, known)
    sharing = [name for name in known if set(chain(name)) & set(chain(asked))]
    assert found in sharing if sharing else found is None


@given(locales, bundles)
def test_a_locale_of_the_bundle_speaks_for_itself(asked: str, known: list[str]) -> None:
    assert resolve(asked, [*known, asked]) == asked


@given(locales, bundles, st.sampled_from(["xx", "tlh-Latn", ""]))
def test_another_language_changes_nothing(asked: str, known: list[str], other: str) -> None:
    assert resolve(asked, [other, *known]) == resolve(asked, known)


@given(locales, bundles)
def test_case_and_underscore_are_forgiven(asked: str, known: list[str]) -> None:
    scrawled = {scrawl(name): name for name in known}
    found = resolve(asked, known)
    assert resolve(scrawl(asked), known) == found
    assert scrawled.get(resolve(asked, list(scrawled)) or "") == found


def scrawl(name: str) -> str:
    return name.swapcase().replace("-", "_")


@given(st.text(max_size=30) | st.from_regex(r"[a-z]{2}([-_][A-Za-z0-9]{1,8}){0,5}", fullmatch=True), bundles)
def test_any_text_has_an_end_and_an_answer(asked: str, known: list[str]) -> None:
    places = chain(asked)
    assert len(set(places)) == len(places)
    assert "-" not in places[-1]
    assert resolve(asked, known) in [None, *known]
    assert resolve(known[0] if known else "en", [asked]) in (None, asked)
