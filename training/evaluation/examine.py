"""The trials: pictures are drawn or painted, the judge looks at them, and the figures are written down."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training import autoencoder
from training.corpus.data import Dataset
from training.corpus.library import Pixels
from training.corpus.paint import Painter
from training.corpus.scenes import Scene
from training.evaluation.drawing import Hand, Wish
from training.evaluation.judge import Judge
from training.evaluation.measures import (
    Floats,
    Share,
    angle_spread,
    blocks,
    distances,
    median,
    nearest,
    rank,
    share,
    spread,
)
from training.evaluation.questions import Asker, Question
from training.run import Run

REAL, SHUFFLED = "real", "shuffled"


@dataclass(frozen=True)
class Outcome:
    """One set's questions, and for each column (a hand, real, shuffled) the rank of every right answer, 0 the best."""

    questions: list[Question]
    ranks: dict[str, list[int]]

    def first(self, column: str, among: int = 1) -> Share:
        """How often the right answer is among the first."""
        return share(place < among for place in self.ranks[column])

    def part(self, chosen: Sequence[bool]) -> Outcome:
        """The outcome of some of the questions."""
        keep = [i for i, wanted in enumerate(chosen) if wanted]
        return Outcome(
            [self.questions[i] for i in keep],
            {column: [places[i] for i in keep] for column, places in self.ranks.items()},
        )

    def kinds(self) -> dict[str, Outcome]:
        """The outcome of each kind of question."""
        names = sorted({question.kind for question in self.questions})
        return {name: self.part([question.kind == name for question in self.questions]) for name in names}


@dataclass(frozen=True)
class Diversity:
    """Mean distance between two pictures of one caption: of 4 x 4 means (0 to 255), and one less the judge's cosine."""

    pixels: float
    judged: float


@dataclass(frozen=True)
class Copies:
    """Are pictures nearer to a training picture than two paintings of one caption are to each other?"""

    share: Share  # of drawn pictures
    real: Share  # of paintings that were not trained on
    drawn_distance: float  # medians
    real_distance: float
    paintings_apart: float


@dataclass(frozen=True)
class Unknown:
    """Pictures of unknown words, of real scenes and of noise that are as near to real ones as 95 of 100 real are."""

    words: Share
    noise: Share
    threshold: float  # cosine


class Examiner:
    """Holds the judge, the painter and the hands, the bundle's own way to draw first."""

    def __init__(self, run: Run, dataset: Dataset, asker: Asker, judge: Judge, hands: Sequence[Hand]) -> None:
        self.run, self.dataset, self.asker, self.judge, self.hands = run, dataset, asker, judge, list(hands)
        self.painter = Painter(run, dataset.library)

    def outcome(self, name: str, questions: list[Question]) -> Outcome:
        """Ask everybody one set of questions."""
        wishes = [Wish(question.prompt, question.locale, 100 + i) for i, question in enumerate(questions)]
        columns = {REAL: self.judge.look(self.paint([question.scene for question in questions]))}
        for hand in self.hands:
            columns[hand.label] = self.judge.look(hand.draw(wishes, name))
        order = np.random.default_rng(29).permutation(len(questions))
        columns[SHUFFLED] = columns[self.hands[0].label][order]
        return Outcome(questions, {column: self.ranks(seen, questions) for column, seen in columns.items()})

    def ranks(self, seen: Floats, questions: Sequence[Question]) -> list[int]:
        """The right answer's rank for each picture, a unit vector."""
        lines = list(dict.fromkeys(line for question in questions for line in question.answers))
        read = dict(zip(lines, self.judge.read(lines), strict=True))
        return [
            rank(picture, np.stack([read[line] for line in question.answers]), question.right)
            for picture, question in zip(seen, questions, strict=True)
        ]

    def paint(self, scenes: Sequence[Scene], turn: int = 0) -> Pixels:
        """An unseen painting of each."""
        first = self.asker.paint_number(1_000 * turn)
        return np.stack([self.painter.paint(scene, first + i) for i, scene in enumerate(scenes)])

    def diversity(self, questions: Sequence[Question], seeds: int) -> dict[str, Diversity]:
        """How different the pictures of one caption are: drawn with several seeds, and painted several times."""
        wishes = [
            Wish(question.prompt, question.locale, 30_000 + 100 * i + seed)
            for i, question in enumerate(questions)
            for seed in range(seeds)
        ]
        scenes = [question.scene for question in questions for _ in range(seeds)]
        found = {REAL: self._diversity(self.paint(scenes, turn=400), seeds)}
        for hand in self.hands:
            found[hand.label] = self._diversity(hand.draw(wishes, "diversity"), seeds)
        return found

    def _diversity(self, pictures: Pixels, seeds: int) -> Diversity:
        means, seen = blocks(pictures), self.judge.look(pictures)
        groups = [slice(first, first + seeds) for first in range(0, len(pictures), seeds)]
        return Diversity(
            float(np.mean([spread(means[group]) for group in groups])),
            float(np.mean([angle_spread(seen[group]) for group in groups])),
        )

    def copies(self, drawn: Pixels, scenes: Sequence[Scene]) -> tuple[Copies, Pixels]:
        """Compare drawn pictures with all training pictures; also gives the nearest of each."""
        one, other = self.paint(scenes, turn=500), self.paint(scenes, turn=600)
        apart = median(np.diagonal(distances(blocks(one), blocks(other))))
        where, near = nearest(drawn, self.dataset.pictures)
        _, real = nearest(one, self.dataset.pictures)
        copies = Copies(share(near < apart), share(real < apart), median(near), median(real), apart)
        return copies, np.asarray(self.dataset.pictures[where])

    def unknown(self, words: Sequence[tuple[str, str]]) -> Unknown:
        """Draw words that mean nothing here, given with their locales; are the pictures of this world?"""
        held = list(itertools.islice(self.asker.held_out(), 256))
        known = self.judge.look(self.dataset.pictures[::3])
        limit = float(np.percentile(self._nearness(self.paint(held, turn=700), known), 5))
        drawn = self.hands[0].draw([Wish(word, locale, 40 + i) for i, (word, locale) in enumerate(words)], "unknown")
        noise = np.random.default_rng(31).integers(0, 256, drawn.shape, dtype=np.uint8)
        near, far = (share(self._nearness(pictures, known) >= limit) for pictures in (drawn, noise))
        return Unknown(near, far, limit)

    def _nearness(self, pictures: Pixels, known: Floats) -> Floats:
        """The cosine of each picture to the nearest known one."""
        found: Floats = (self.judge.look(pictures) @ known.T).max(axis=1)
        return found

    def reconstruction(self, folder: Path, count: int) -> dict[str, float] | None:
        """The autoencoder's mean absolute error (of 255) and PSNR (dB) on held-out scenes; None without its weights."""
        if not (folder / "autoencoder.safetensors").exists():
            return None
        device = torch.device("cpu")
        network = autoencoder.load(self.run, folder, device)
        pictures = self.paint(list(itertools.islice(self.asker.held_out(), count)), turn=800)
        with torch.no_grad():
            made = network.decoder(network.encoder(autoencoder.to_tensor(pictures, device)))  # type: ignore[operator]
        wrong = autoencoder.to_pixels(made).astype(np.float64) - pictures
        psnr = 10 * np.log10(255**2 / max(1e-9, float((wrong**2).mean())))
        return {"error": float(np.abs(wrong).mean()), "psnr": float(psnr), "n": float(count)}
