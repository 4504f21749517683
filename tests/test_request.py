"""The constructor is the only validation: any bytes become a request that can be drawn, or one sentence."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from appliance.errors import BadInput
from appliance.request import MAX_PROMPT, MAX_SEED, GenerationRequest, Offer

OFFER = Offer(
    sizes=((64, 64), (96, 64), (512, 512)),
    steps=(1, 50),
    default_steps=8,
    guidance=(0.0, 20.0),
    default_guidance=3.5,
    schedulers=("ddim", "euler"),
)

any_text = st.text(st.characters(exclude_categories=()), max_size=60)  # half characters (surrogates) too
any_value: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)
good_fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a red apple", "🍎", "تفاحة حمراء", "two people\non the mountain"])},
    optional={
        "negative_prompt": st.sampled_from(["", "blurry"]),
        "size": st.sampled_from(["64x64", "96X64", "512×512"]),
        "steps": st.integers(1, 50),
        "guidance": st.floats(0, 20) | st.integers(0, 20),
        "scheduler": st.sampled_from(OFFER.schedulers),
        "seed": st.integers(0, MAX_SEED),
        "count": st.integers(1, 4),
        "locale": st.sampled_from(["en", "en_gb", "EN-GB", "es-419", "zh-Hant-TW"]),
    },
)
few_fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a", " a", "b"])},
    optional={"guidance": st.sampled_from([0, 0.0, -0.0, 3.5]), "seed": st.sampled_from([0, 1])},
)


def ask(**fields: Any) -> GenerationRequest:
    return GenerationRequest.of({"prompt": "a red apple", **fields}, OFFER)


def answer(make: Callable[[], GenerationRequest]) -> GenerationRequest | None:
    """The request, or None after checking that the refusal is one sentence."""
    try:
        return make()
    except BadInput as error:
        sentence = str(error)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 200
    return None


@given(any_text)
def test_any_prompt_is_drawn_or_answered_with_one_sentence(prompt: str) -> None:
    request = answer(lambda: GenerationRequest.of({"prompt": prompt}, OFFER))
    if request is not None:
        assert 1 <= len(request.prompt.encode("utf-8").decode("utf-8")) <= MAX_PROMPT


@given(st.dictionaries(st.sampled_from([*GenerationRequest.model_fields, "size", "negative"]) | any_text, any_value))
@example({"prompt": "a", "\ud800": 1})
@example({"prompt": "a", "x" * 5000: 1})
@example({"prompt": "a", "guidance": 10**400})
@example({"prompt": "a", "steps": 10**5000})
def test_any_fields_raise_nothing_but_bad_input(fields: dict[str, Any]) -> None:
    answer(lambda: GenerationRequest.of(fields, OFFER))


@given(st.text(max_size=200) | any_value.map(repr) | st.just("[" * 100_000))
def test_any_json_text_raises_nothing_but_bad_input(text: str) -> None:
    answer(lambda: GenerationRequest.from_json(text, OFFER))


@given(good_fields)
def test_an_accepted_request_survives_json(fields: dict[str, Any]) -> None:
    request = GenerationRequest.of(fields, OFFER)
    again = GenerationRequest.from_json(request.to_json(), OFFER)
    assert again == request
    assert again.to_json() == request.to_json()


@given(few_fields, few_fields)
@example({"prompt": "a", "guidance": 0.0}, {"prompt": "a", "guidance": -0.0})
@example({"prompt": "a", "guidance": 7}, {"prompt": "a", "guidance": 7.0})
def test_canonical_json_is_equal_exactly_when_the_requests_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = GenerationRequest.of(one, OFFER), GenerationRequest.of(other, OFFER)
    assert (first.to_json() == second.to_json()) == (first == second)


@given(st.permutations([("prompt", "a"), ("steps", 5), ("seed", 7), ("locale", "es")]))
def test_the_order_of_the_fields_does_not_matter(items: list[tuple[str, Any]]) -> None:
    assert GenerationRequest.of(dict(items), OFFER) == ask(prompt="a", steps=5, seed=7, locale="es")


EMPTY = "The prompt is empty: say in a few words what to draw."
CONTROL = "The prompt holds control characters: send plain text."
HALF = "The prompt holds half a character (a lone surrogate): send whole Unicode."
SIZES = "choose one of 64x64, 96x64, 512x512."
LOCALE = "The locale must look like en, es or en-GB."


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prompt": None}, "prompt is missing: send it with the request."),
        ({"prompt": 5}, "prompt must be text."),
        ({"prompt": b"a"}, "prompt must be text."),
        ({"prompt": ""}, EMPTY),
        ({"prompt": " \t\n\u3000"}, EMPTY),
        ({"prompt": "\u200b\u200d\u2060\ufeff\ufe0f"}, EMPTY),
        ({"prompt": "a" * 2001}, "The prompt has 2001 characters: shorten it to at most 2000."),
        ({"prompt": "a\x00b"}, CONTROL),
        ({"prompt": "a\x1b[31mb"}, CONTROL),
        ({"prompt": "a\x85b"}, CONTROL),
        ({"prompt": "\ud83d apple"}, HALF),
        ({"negative": "a\x07b"}, "The negative prompt holds control characters: send plain text."),
        ({"negative": "a" * 2001}, "The negative prompt has 2001 characters: shorten it to at most 2000."),
        ({"guidance": float("nan")}, "guidance must be a finite number."),
        ({"guidance": float("inf")}, "guidance must be a finite number."),
        ({"guidance": 20.5}, "guidance must be 0 to 20, not 20.5."),
        ({"guidance": "7"}, "guidance must be a number."),
        ({"guidance": True}, "guidance must be a number."),
        ({"seed": -1}, "seed must be at least 0."),
        ({"seed": 2**32}, "seed must be at most 4294967295."),
        ({"seed": 1.5}, "seed must be a whole number."),
        ({"seed": "7"}, "seed must be a whole number."),
        ({"seed": True}, "seed must be a whole number."),
        ({"steps": 0}, "steps must be at least 1."),
        ({"steps": 51}, "steps must be 1 to 50, not 51."),
        ({"steps": 10**5000}, "steps must be at most 99999."),
        ({"size": "65x64"}, f"The size 65x64 is not offered: {SIZES}"),
        ({"size": "64x96"}, f"The size 64x96 is not offered: {SIZES}"),
        ({"width": 512, "height": 64}, f"The size 512x64 is not offered: {SIZES}"),
        ({"size": "big"}, "The size must look like 64x64 (width x height)."),
        ({"size": [64, 64]}, "The size must look like 64x64 (width x height)."),
        ({"size": "64x64", "width": 64}, "Give either size or width and height, not both."),
        ({"width": 64}, "Give width and height together."),
        ({"count": 0}, "count must be at least 1."),
        ({"count": 99}, "count must be 1 to 4, not 99."),
        ({"colour": "red"}, "'colour' is not a field of a request: leave it out or check its spelling."),
        ({"\ud800": "red"}, "The name of a field must be plain text."),
        ({"scheduler": "lcm"}, "This model has no scheduler 'lcm': choose one of ddim, euler."),
        ({"scheduler": ["ddim"]}, "scheduler must be text."),
        ({"locale": "english please"}, LOCALE),
        ({"locale": ""}, LOCALE),
        ({"locale": "en\n"}, LOCALE),
        ({"locale": "../etc"}, LOCALE),
    ],
)
def test_what_cannot_be_drawn_is_answered_with(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        ask(**fields)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"prompt": "a", "seed": ' + "9" * 5000 + "}"])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not valid json"):
        GenerationRequest.from_json(text, OFFER)


@pytest.mark.parametrize("text", ["[]", '"a red apple"', "7", "null"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="must be a json object"):
        GenerationRequest.from_json(text, OFFER)


@pytest.mark.parametrize(
    "prompt",
    ["🍎", "👩\u200d🚀🌙", "\U0001fae8", "تفاحة حمراء", "\u200fתפוח אדום", "山の上の二人", "?", "7", "a" * 2000],
)  # fmt: skip
def test_these_are_words_too(prompt: str) -> None:
    assert ask(prompt=prompt).prompt == prompt


def test_an_emoji_newer_than_this_python_is_seen() -> None:
    assert ask(prompt="\U0001faff").prompt == "\U0001faff"  # unassigned as of Unicode 15


def test_line_breaks_become_spaces_and_the_ends_are_trimmed() -> None:
    assert ask(prompt="  two people\r\n\ton the mountain\n").prompt == "two people on the mountain"


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("negative", "negative_prompt", "blurry"),
        ("num_inference_steps", "steps", 30),
        ("guidance_scale", "guidance", 1.5),
    ],
)
def test_other_tools_words_are_understood(alias: str, name: str, value: Any) -> None:
    assert ask(**{alias: value}) == ask(**{name: value})
    assert json.loads(ask(**{alias: value}).to_json())[name] == value


@pytest.mark.parametrize(("alias", "name"), [("num_inference_steps", "steps"), ("guidance_scale", "guidance")])
def test_a_wish_said_twice_is_refused(alias: str, name: str) -> None:
    with pytest.raises(BadInput, match=alias):
        ask(**{alias: 5, name: 5})


def test_size_is_width_and_height() -> None:
    assert ask(size="96x64") == ask(width=96, height=64)


def test_silence_takes_what_the_bundle_gives() -> None:
    request = ask()
    assert (request.width, request.height) == (64, 64)
    assert (request.steps, request.guidance, request.scheduler) == (8, 3.5, "ddim")
    assert (request.seed, request.count, request.locale, request.negative_prompt) == (None, 1, "en", "")
    assert ask(steps=None, seed=None, size=None) == request


@pytest.mark.parametrize(("said", "kept"), [("EN_gb", "en-GB"), ("es-419", "es-419"), ("ES", "es")])
def test_a_locale_has_one_spelling(said: str, kept: str) -> None:
    assert ask(locale=said).locale == kept


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ask().seed = 5  # type: ignore[misc]


def test_the_seed_is_fixed_once() -> None:
    fixed = ask().with_seed()
    assert fixed.seed is not None
    assert 0 <= fixed.seed <= MAX_SEED
    assert fixed.with_seed() == fixed
    assert ask(seed=7).with_seed() == ask(seed=7)


STARTING = replace(OFFER, pictures=True)


def sent(size: tuple[int, int] = (128, 128), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def begin(**fields: Any) -> GenerationRequest:
    return GenerationRequest.of({"prompt": "a red apple", **fields}, STARTING)


def test_a_request_tells_its_picture_by_name_and_holds_it() -> None:
    request = begin(image=sent(), mask=sent(), size="64x64")
    told = json.loads(request.to_json())
    assert request.image is not None
    assert told["image"] == request.image.sha256
    assert [len(picture.file) for picture in request.pictures] == [13 + 64 * 64 * 3, 13 + 64 * 64]
    kept = {picture.sha256: picture.file for picture in request.pictures}
    assert GenerationRequest.from_json(request.to_json(), STARTING, kept.__getitem__) == request
    assert begin(image=sent(kind="WEBP"), mask=sent(), size="64x64") != begin(image=sent(), mask=sent(), seed=1)


def test_without_a_picture_its_canonical_json_has_no_word_of_one() -> None:
    """So that an id that was used before the box could start from pictures still names the same request."""
    assert not {"image", "mask", "strength"} & json.loads(ask().to_json()).keys()


def test_the_strength_suits_what_was_sent() -> None:
    assert begin(image=sent()).strength == 0.6
    assert begin(image=sent(), mask=sent()).strength == 1.0
    assert begin(image=sent(), mask=sent(), strength=0.3).strength == 0.3


@pytest.mark.parametrize(("steps", "strength", "taken"), [(20, 1.0, 20), (20, 0.6, 12), (50, 0.58, 28), (8, 0.125, 1)])
def test_the_strength_is_the_share_of_steps_that_are_taken(steps: int, strength: float, taken: int) -> None:
    assert begin(image=sent(), steps=steps, strength=strength).steps_taken == taken


@pytest.mark.parametrize(
    ("usual", "strength", "steps"), [(1, 0.6, 2), (1, 1.0, 1), (1, 0.3, 4), (8, 0.6, 8), (8, 0.1, 10)]
)
def test_a_model_of_few_steps_takes_enough_of_them_for_a_picture_to_count(
    usual: int, strength: float, steps: int
) -> None:
    turbo = replace(STARTING, default_steps=usual)
    request = GenerationRequest.of({"prompt": "x", "image": sent(), "strength": strength}, turbo)
    assert (request.steps, request.steps_taken < request.steps) == (steps, strength < 1)


def test_without_a_size_the_shape_of_the_picture_chooses_it() -> None:
    assert (begin(image=sent((300, 200))).width, begin(image=sent((200, 200))).width) == (96, 64)
    assert begin(image=sent((300, 200)), size="512x512").width == 512


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mask": b""}, "needs a picture"),
        ({"strength": 0.5}, "needs a picture"),
        ({"image": sent(), "strength": 0}, "strength"),
        ({"image": sent(), "strength": 1.01}, "strength"),
        ({"image": sent(), "strength": float("nan")}, "strength"),
        ({"image": sent(), "strength": "much"}, "strength"),
        ({"image": sent(), "strength": 0.6, "steps": 1}, "takes none of 1 steps: give more steps or more strength"),
        ({"image": sent(), "strength": 1e-320}, "takes none of 50 steps"),
        ({"image": sent(), "mask": sent((64, 65))}, "as large as"),
        ({"image": sent(), "mask": b"x"}, "mask cannot be read"),
        ({"image": "a" * 64}, "image cannot be read"),
        ({"image": sent(), "size": "65x64"}, "65x64"),
        ({"image": sent(), "mask": sent(), "width": [], "height": {}}, "not offered|must be"),
    ],
)
def test_what_is_wrong_with_a_picture_is_said(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        begin(**fields)


def test_a_bundle_without_an_encoder_refuses_a_picture() -> None:
    with pytest.raises(BadInput, match="cannot start from a picture"):
        ask(image=sent())


def test_a_picture_that_nobody_keeps_is_refused() -> None:
    with pytest.raises(BadInput, match="No picture is kept"):
        GenerationRequest.from_json(begin(image=sent()).to_json(), STARTING)
