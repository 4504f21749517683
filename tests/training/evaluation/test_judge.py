"""The judge learns which caption belongs to which real picture, and is not fooled by twists of what it sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training import stages
from training.corpus import captions
from training.corpus.data import Dataset
from training.corpus.library import Library
from training.corpus.paint import Painter
from training.corpus.scenes import PLACES, Director, Part, Scene
from training.corpus.words import PlaceWord
from training.errors import TrainingError
from training.evaluation import judge
from training.evaluation.judge import Judge, JudgeStage
from training.evaluation.measures import rank
from training.evaluation.twists import Twister
from training.evaluation.wording import Wording
from training.loop import Budget, Trainer
from training.run import Run

CPU = torch.device("cpu")


def first_scenes(director: Director) -> list[Scene]:
    return [director.scene(index) for index in range(director.count)]


def test_a_twist_says_something_else(run: Run, director: Director, library: Library) -> None:
    twister, rng = Twister(director), np.random.default_rng(0)
    for scene in first_scenes(director) * 4:
        twist = twister.twist(scene, rng)
        said = [captions.plain(one, run, library, "en") for one in (scene, twist)]
        assert said[0] != said[1] or {part.thing for part in scene.parts} != {part.thing for part in twist.parts}


def test_a_twist_is_false_of_the_picture(director: Director) -> None:
    twister, rng = Twister(director), np.random.default_rng(0)
    alike = [{"beside", "left"}, {"on", "over"}, {"night", "space"}, {"beach", "sea"}]
    for scene in first_scenes(director) * 4:
        twist = twister.twist(scene, rng)
        if twist.parts == scene.parts:
            assert {scene.relation, twist.relation} not in alike
            assert {scene.place, twist.place} not in alike
        if twist.parts == scene.parts[::-1] and len(scene.parts) == 2:
            assert scene.relation != "beside"
        assert scene.place is None or twist.place is not None


def test_the_judge_reads_no_tag_and_no_word_that_means_two_things(run: Run, library: Library) -> None:
    wording, rng = Wording(run, library), np.random.default_rng(0)
    ball = Scene((Part("26bd", library.things["26bd"].pictures),))
    assert "en-GB" not in wording.clear(ball)  # where it is called a football
    for locale in wording.clear(ball):
        lines = {wording.say(ball, locale, rng) for _ in range(30)}
        assert not any(line.split(" ")[-1] == "football" or ":" in line for line in lines), lines
    assert "football" in wording.plain(ball, "en-GB")
    assert "football" not in wording.answer(ball, "en-GB")
    dog = PlaceWord("dog", {"en": "1f415", "en-GB": "1f436"})
    assert Wording(run, library, [dog]).name("1f415") == "perro"
    told = PlaceWord("dog", {"en": "1f415"})  # a word of one place that means one thing tells it well
    assert Wording(run, library, [told]).name("1f415") == "dog"


def test_what_says_the_same_is_no_wrong_answer() -> None:
    found = judge.same(["a dog", "a cat", "a dog", "a cow", "a cat", "a dog"], 3)
    assert found.tolist() == [
        [False, False, True, False, False, True],
        [False, False, False, False, True, False],
        [True, False, False, False, False, True],
    ]


def test_augmented_pictures_keep_left_and_right_and_their_colours() -> None:
    pictures = torch.full((16, 3, judge.SIDE, judge.SIDE), -0.8)
    pictures[:, 0, :, : judge.SIDE // 2] = 0.8  # red on the left, blue on the right
    pictures[:, 2, :, judge.SIDE // 2 :] = 0.8
    made = judge.augmented(pictures, np.random.default_rng(0), torch.randn(pictures.shape))
    assert made.shape == pictures.shape
    assert made.abs().max() <= 1
    assert not torch.equal(made[0], made[1])
    left, right = made[..., :16].mean((2, 3)), made[..., -16:].mean((2, 3))
    assert (left[:, 0] > left[:, 2]).all()
    assert (right[:, 2] > right[:, 0]).all()


def test_words_are_spelled_by_their_letters() -> None:
    lines = ["a dog", "dogs, 3 dogs in the city", ""]
    ids = judge.spell(lines)
    assert ids.shape[:2] == (3, 6)
    assert (ids[0, 2:] == 0).all()
    dog, dogs = set(judge.grams("dog")), set(judge.grams("dogs"))
    assert dog & dogs
    assert dog != dogs
    network = judge.JudgeNetwork().eval()
    with torch.no_grad():
        together, alone = network.reader(ids), torch.cat([network.reader(judge.spell([line])) for line in lines])
    assert torch.isfinite(together).all()
    assert torch.allclose(together, alone, atol=1e-4)


def test_a_stopped_judge_goes_on_as_if_it_had_not_been_stopped(run: Run, folder: Path) -> None:
    assert stages.train(run, "judge", folder, "cpu")
    whole = load_file(folder / "judge.safetensors")
    assert stages.train(run, "judge", folder, "cpu", restart=True, stop_after=2)
    assert stages.train(run, "judge", folder, "cpu")
    resumed = load_file(folder / "judge.safetensors")
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_judge_that_was_not_trained_is_said(run: Run, folder: Path) -> None:
    with pytest.raises(TrainingError, match="train first"):
        Judge(run, folder, CPU)


def placed(library: Library, count: int) -> list[Scene]:
    """One dog in so many places, in turn."""
    return [Scene((Part("1f415", library.things["1f415"].pictures[:1]),), place=PLACES[i % 12]) for i in range(count)]


@pytest.fixture(scope="module")
def learned(run: Run, library: Library, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A judge that went to school for a few seconds, and saw a dog in many places."""
    scenes, painter = placed(library, 96), Painter(run, library)
    settings = replace(run.stages["judge"], steps=24, batch=16, rate=4e-3, warmup=5, ema=0.9)
    schooled = replace(run, stages={**run.stages, "judge": settings})
    seen = Dataset(np.stack([painter.paint(scene, i) for i, scene in enumerate(scenes)]), scenes, library)
    folder = tmp_path_factory.mktemp("judged")
    assert Trainer(schooled, JudgeStage(schooled, seen, folder, CPU), folder, CPU, Budget()).train()
    return Judge(schooled, folder, CPU)


def test_real_pictures_are_told_and_shuffled_captions_are_chance(run: Run, library: Library, learned: Judge) -> None:
    wording, painter = Wording(run, library), Painter(run, library)
    answers = learned.read([wording.plain(scene) for scene in placed(library, 12)])
    seen = learned.look(np.stack([painter.paint(scene, 500 + i) for i, scene in enumerate(placed(library, 48))]))
    assert np.allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-3)

    def share(order: Iterable[int]) -> float:
        return float(np.mean([rank(seen[k], answers, i % 12) == 0 for i, k in enumerate(order)]))

    real, shuffled = share(range(48)), share(np.random.default_rng(0).permutation(48))
    assert real > 0.4  # of twelve places
    assert shuffled < 0.25


def test_the_same_step_has_the_same_batch(run: Run, dataset: Dataset) -> None:
    stage = JudgeStage(run, dataset, Path(), CPU)
    one, two = (stage.questions(3, np.random.default_rng(1)) for _ in range(2))
    assert one[1:] == two[1:]
    assert np.array_equal(one[0], two[0])
    assert len(one[1]) == len(one[2]) == 2 * len(one[0])
