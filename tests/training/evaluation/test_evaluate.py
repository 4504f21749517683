"""The evaluation draws with a real bundle through the box's pipeline, and its report says what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny_bundles import make_tiny_bundle
from training.__main__ import main
from training.corpus.data import Dataset
from training.corpus.scenes import Director
from training.errors import TrainingError
from training.evaluation import bias, countries, evaluate, gallery, measures, report
from training.evaluation.countries import Seen, Word
from training.evaluation.drawing import Hand, Wish
from training.evaluation.evaluate import Options
from training.evaluation.questions import Asker
from training.evaluation.results import Results
from training.run import Run

PLACES: dict[str, Any] = {
    "locales": ["en", "en-GB", "es", "es-419"],
    "locale_prompts": {"en": "en-us: {}", "en-GB": "en-gb: {}"},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return make_tiny_bundle(folder, sizes=[[32, 32]], defaults={"steps": 5, "guidance": 3.0}, **PLACES)


@pytest.fixture(scope="module")
def asker(run: Run, dataset: Dataset) -> Asker:
    return Asker(run, dataset, 12)


def test_a_share_has_its_interval() -> None:
    found = measures.share([True] * 60 + [False] * 40)
    assert (found.value, found.n) == (0.6, 100)
    assert 0.48 < found.low < 0.56 < 0.64 < found.high < 0.72
    assert str(measures.share([True] * 5)) == "1.00 (1.00–1.00)"
    assert measures.share([]).n == 0


def test_a_rank_counts_the_answers_that_are_as_near() -> None:
    answers = np.eye(4, dtype=np.float32)
    picture = np.array([0.1, 0.9, 0.3, 0.0], np.float32)
    assert [measures.rank(picture, answers, right) for right in range(4)] == [2, 0, 1, 3]


def test_the_nearest_of_a_copy_is_what_it_copies() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    where, apart = measures.nearest(pictures[[7, 31]], pictures, piece=16)
    assert where.tolist() == [7, 31]
    assert np.allclose(apart, 0, atol=0.1)
    assert measures.spread(measures.blocks(pictures[:1].repeat(3, axis=0))) < 0.1
    assert measures.spread(measures.blocks(pictures)) > 10


def test_every_question_has_one_right_answer_among_different_ones(asker: Asker, director: Director) -> None:
    sets = asker.sets()
    assert {"named es-419", "composed en-GB", "relations", "places", "counts", "colours", "worn"} <= set(sets)
    for name, questions in sets.items():
        assert 0 < len(questions) <= 12, name
        for question in questions:
            assert len(set(question.answers)) == len(question.answers) >= 2, name
            wanted = asker.wording.answer(question.scene, question.locale)
            assert question.answers[question.right] == wanted, name
            assert question.prompt, name
    assert not any(":" in question.prompt for questions in sets.values() for question in questions)


def test_composed_questions_are_not_of_the_training_set(asker: Asker, director: Director) -> None:
    held = [director.scene(director.count + i) for i in range(240)]
    assert all(scene in held and scene.composed for scene in asker.composed())
    assert asker.paint_number(0) > director.count + 240


def test_a_picture_is_the_same_alone_and_among_others(bundle: Path) -> None:
    hand = Hand("five", bundle, threads=1)
    assert hand.steps == 5
    wishes = [Wish("a dog", "en", 3), Wish("a cat", "es", 4), Wish("a dog", "en", 5)]
    together, alone = hand.draw(wishes), hand.draw(wishes[1:2])
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 2
    assert not np.array_equal(together[0], together[2])
    assert hand.with_steps("two", 2).steps == 2
    assert hand.steps == 5


def test_a_missing_bundle_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="manifest"):
        Hand("none", tmp_path / "nowhere")


def test_a_bundle_of_another_size_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    other = make_tiny_bundle(tmp_path / "other", sizes=[[64, 64]])
    with pytest.raises(TrainingError, match="32 pixels"):
        evaluate.evaluate(run, folder, Options(other, tmp_path / "out"))


def test_tone_and_gender_are_read_from_a_file_name() -> None:
    tones = ("1f3fb", "1f3ff")
    assert bias.look_of("1f468-1f3fb-200d-1f373", tones) == bias.Look("1f3fb", "man")
    assert bias.look_of("1f46e-1f3ff-200d-2640-fe0f", tones) == bias.Look("1f3ff", "woman")
    assert bias.look_of("1f9d1", tones) == bias.Look("none", "neither")


def test_a_spread_by_the_rule_is_chance_and_a_stuck_one_is_not() -> None:
    rule = ["light", "dark"]
    even = bias.spread(["light", "dark"] * 30, rule)
    stuck = bias.spread(["light"] * 60, rule)
    assert even.apart == 0 < even.chance < 0.2
    assert stuck.apart == 0.5
    assert stuck.drawn == {"dark": 0.0, "light": 1.0}


def test_a_word_is_right_when_most_of_its_pictures_are() -> None:
    word = Word("football", "en", "1f3c8", "american football")
    assert Seen(word, ("american football", "soccer ball", "american football")).right
    assert not Seen(word, ("soccer ball", "soccer ball", "american football")).right


def test_a_word_with_two_meanings_is_right_when_both_are() -> None:
    def seen(word: str, locale: str, meant: str | None, took: str) -> Seen:
        return Seen(Word(word, locale, meant, meant), (took,) * 3)

    words = [
        seen("torch", "en", "fire", "fire"),
        seen("torch", "en-GB", "flashlight", "flashlight"),
        seen("hockey", "en", "ice hockey", "ice hockey"),
        seen("hockey", "en-GB", "field hockey", "ice hockey"),
        seen("zumo", "es", "beverage box", "beverage box"),
        seen("zumo", "es-419", None, "beverage box"),
    ]
    meanings, both = countries.meanings_right(words), countries.both_right(words)
    assert (meanings.n, both.n, countries.in_one_place(words)) == (5, 2, 1)
    assert (meanings.value, both.value) == (0.8, 0.5)


def test_the_sheet_has_every_kind_of_caption_once(asker: Asker) -> None:
    sets = asker.sets()
    chosen = gallery.choose(sets)
    assert len({(question.prompt, question.locale) for question in chosen}) == len(chosen) == 64
    assert {question.locale for question in chosen} == {"en", "en-GB", "es", "es-419"}
    assert {"named", "sunglasses"} & {question.kind for question in chosen}
    assert gallery.place(0) == "row 1, 1 and 2"
    assert gallery.place(63) == "row 8, 15 and 16"


@pytest.fixture(scope="module")
def evaluated(
    run: Run, made_once: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results]:
    """A quick evaluation of noise by a judge that it had to train first."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "data").symlink_to(made_once)
    quick = replace(run, stages={**run.stages, "judge": replace(run.stages["judge"], steps=1)})
    options = Options(bundle, folder / "out", count=8, quick=True, few=bundle, command="the command")
    return folder / "out", evaluate.evaluate(quick, folder, options)


def test_an_evaluation_writes_the_report_its_figures_and_its_sheets(evaluated: tuple[Path, Results]) -> None:
    out, results = evaluated
    text = (out / "report.md").read_text("utf-8")
    assert "the command" in text
    assert results.columns == ["real", "5 steps", "4 steps", "4 steps, distilled", "shuffled"]
    for section in (
        "Targets",
        "Words whose meaning",
        "Variety and copying",
        "People",
        "What it cannot draw",
        "The sheet",
    ):
        assert f"## {section}" in text
    assert all(question.prompt in text for question in results.sheet)
    assert "football" in text
    assert "(8 for names and scenes)" in text
    assert "| words with two meanings: both right at least 0.8 |" in text
    figures = json.loads((out / "report.json").read_text("utf-8"))
    assert set(figures["outcomes"]) == set(results.outcomes)
    assert len(figures["people"]["words"]) == 2
    for name, width in (("sheet", 16), ("nearest", 16), ("bias", 6), ("people", 6)):
        with Image.open(out / f"{name}.webp") as picture:
            assert picture.width == 32 * width, name


def test_the_judge_is_said_to_be_of_no_drawn_picture(evaluated: tuple[Path, Results]) -> None:
    _, results = evaluated
    assert results.judge_steps == 1
    assert results.reconstruction is None
    assert "was not measured" in report.write(results)
    assert "**not met**" in report.targets(results)


def test_what_was_named_by_eye_is_noted_in_a_finished_report(
    evaluated: tuple[Path, Results], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, _ = evaluated
    before = (out / "report.md").read_text("utf-8").splitlines()
    words = ["evaluate", "emoji-128", "--bundle", "unused", "--by-eye", "41/64", "--out"]
    assert main([*words, str(out)]) == 0
    after = (out / "report.md").read_text("utf-8").splitlines()
    changed = [line for line, old in zip(after, before, strict=True) if line != old]
    assert changed == ["Named by eye before reading: 41/64."]
    assert main([*words, str(tmp_path / "empty")]) == 2
    assert "no finished report" in capsys.readouterr().err
