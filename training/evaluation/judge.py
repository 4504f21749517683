"""The judge: which caption belongs to which picture, learned from the run's painted scenes and from nothing drawn.

A dual encoder in CLIP's form (Radford et al. 2021, arXiv:2103.00020): cosine similarities times a learned
temperature, cross entropy both ways (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748). It shares nothing with the
model that it judges: other networks, another seed, words and letter n-grams (Bojanowski et al. 2017, arXiv:1607.04606)
instead of its tokenizer, augmented pictures half as large. Each picture has its caption's twist among the wrong answers
(Yuksekgonul et al. 2023, arXiv:2210.01936), or it would learn things and neither relations nor counts.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import checkpoint, loop, networks
from training.autoencoder import to_tensor
from training.corpus.data import Dataset
from training.corpus.library import Pixels
from training.corpus.scenes import Director, Scene, pick
from training.errors import TrainingError
from training.evaluation.twists import Twister
from training.evaluation.wording import Wording
from training.run import Run

Vectors = npt.NDArray[np.float32]

SIDE = 64  # pixels that the judge sees
WIDTH = 192  # of the space that pictures and captions share
_BUCKETS, _GRAMS, _WORDS, _TEXT_WIDTH = 1 << 14, 20, 24, 128


@functools.lru_cache(maxsize=1 << 16)
def grams(word: str) -> tuple[int, ...]:
    """Buckets 1 … of a word: itself, and its runs of three and four letters; the same on every machine."""
    marked = f"<{word}>"
    parts = [marked] + [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    return tuple(1 + zlib.crc32(part.encode("utf-8")) % (_BUCKETS - 1) for part in dict.fromkeys(parts))[:_GRAMS]


def spell(lines: Sequence[str]) -> Tensor:
    """Buckets int64 ``[B, longest, grams]`` of captions, 0 where there is nothing."""
    split = [line.lower().replace(",", " ").split()[:_WORDS] or [""] for line in lines]
    ids = np.zeros((len(lines), max(map(len, split)), _GRAMS), np.int64)
    for i, words in enumerate(split):
        for j, word in enumerate(words):
            found = grams(word)
            ids[i, j, : len(found)] = found
    return torch.from_numpy(ids)


class Reader(nn.Module):
    """Captions as ``spell`` gives them to ``[B, WIDTH]``: two layers of attention over their words, and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.grams = nn.Embedding(_BUCKETS, _TEXT_WIDTH, padding_idx=0)
        self.places = nn.Embedding(_WORDS, _TEXT_WIDTH)
        layer = nn.TransformerEncoderLayer(
            _TEXT_WIDTH, 4, 2 * _TEXT_WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(_TEXT_WIDTH, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        there = ids != 0
        words = self.grams(ids).sum(2) / there.sum(2, keepdim=True).clamp_min(1).sqrt()
        blank = ~there.any(2)
        blank[:, 0] = False
        seen = self.layers(words + self.places.weight[: ids.shape[1]], src_key_padding_mask=blank)
        kept = (~blank).unsqueeze(2)
        made: Tensor = self.out((seen * kept).sum(1) / kept.sum(1))
        return made


def _convolution(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.GroupNorm(8, outside), nn.SiLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.inner(x)
        return made


class Looker(nn.Module):
    """Pictures float ``[B, 3, SIDE, SIDE]`` in -1 … 1 to ``[B, WIDTH]``; it keeps where in the picture something is."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(3, 32, 2),
            _convolution(32, 64, 2),
            _Residual(64),
            _convolution(64, 128, 2),
            _Residual(128),
            _convolution(128, 192, 2),
            _Residual(192),
        )
        self.out = nn.Linear(192 * (SIDE // 16) ** 2, WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        made: Tensor = self.out(self.body(pictures).flatten(1))
        return made


class JudgeNetwork(nn.Module):
    """Both encoders and their temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.looker, self.reader = Looker(), Reader()
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """Logits ``[pictures, captions]``."""
        with torch.autocast(pictures.device.type, torch.bfloat16):
            seen = self.looker(pictures).float()
        similar = functional.normalize(seen) @ functional.normalize(self.reader(ids)).T
        return similar * self.scale.clamp(max=math.log(100.0)).exp()


def make_network(run: Run) -> JudgeNetwork:
    """A fresh judge, from another seed than the model's."""
    torch.manual_seed(run.seed + 41)
    network = JudgeNetwork()
    networks.fastest_layout(network.looker)
    return network


def reduce(pictures: Tensor) -> Tensor:
    """``[B, 3, S, S]`` at the judge's size, each of its pixels the mean of what it covers."""
    return functional.interpolate(pictures, size=(SIDE, SIDE), mode="area")


def augmented(pictures: Tensor, rng: np.random.Generator, noise: Tensor) -> Tensor:
    """Each picture ``[B, 3, SIDE, SIDE]`` a little moved, larger, brighter, blurred, noisy: texture says nothing.

    Never mirrored, for left would be right, and of no other hue.
    """

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (len(pictures), *shape)).astype(np.float32)).to(pictures.device)

    size, shift = draw(0.85, 1.15, 1), draw(-0.12, 0.12, 2)
    zero = torch.zeros_like(size)
    turn = torch.stack([torch.cat([size, zero, shift[:, :1]], 1), torch.cat([zero, size, shift[:, 1:]], 1)], 1)
    grid = functional.affine_grid(turn, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    blurred = functional.avg_pool2d(functional.pad(moved, (2, 2, 2, 2), mode="replicate"), 5, 1)
    soft = torch.lerp(moved, blurred, draw(-0.6, 0.9, 1, 1, 1).clamp_min(0))
    lit = soft * draw(0.8, 1.2, 1, 1, 1) + draw(-0.12, 0.12, 1, 1, 1)
    return (lit + noise * draw(-0.08, 0.12, 1, 1, 1).clamp_min(0)).clamp(-1, 1)


class JudgeStage:
    """InfoNCE over a batch's captions and their twists; what says the same is never a wrong answer."""

    name = "judge"
    steady = False  # captions are of different lengths

    def __init__(self, run: Run, dataset: Dataset, folder: Path, device: torch.device) -> None:
        self.run, self.dataset, self.device = run, dataset, device
        self.wording = Wording(run, dataset.library)
        self.twister = Twister(Director(run, dataset.library))
        self.module: nn.Module = make_network(run).to(device)

    def questions(self, step: int, rng: np.random.Generator) -> tuple[Pixels, list[str], list[str]]:
        """Pictures ``[B, S, S, 3]``, then B captions and B twists, and what each of those 2 B says in plain words."""
        settings = self.run.stages[self.name]
        chosen = loop.batch_indices(self.run, self.name, step, settings.batch, len(self.dataset.pictures))
        scenes = [self.dataset.scenes[i] for i in chosen]
        twists = [self.twister.twist(scene, rng) for scene in scenes]
        spoken = [pick(rng, self._locales(pair)) for pair in zip(scenes, twists, strict=True)]
        lines = [self.wording.say(s, locale, rng) for s, locale in zip(scenes + twists, spoken * 2, strict=True)]
        return self.dataset.pictures[chosen], lines, [self.wording.plain(scene) for scene in scenes + twists]

    def _locales(self, pair: Sequence[Scene]) -> list[str]:
        """Where both a scene and its twist can be told clearly."""
        here, there = (self.wording.clear(scene) for scene in pair)
        return [locale for locale in here if locale in there] or here

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Augmented pictures, spelled captions, and where a caption is no wrong answer ``[B, 2 B]``."""
        rng = loop.generator(self.run, self.name, step)
        pixels, lines, said = self.questions(step, rng)
        pictures = reduce(to_tensor(pixels, self.device))
        noise = loop.noise(self.run, self.name, step, tuple(pictures.shape), self.device)
        alike = same(said, len(pixels)).to(self.device)
        return augmented(pictures, rng, noise), spell(lines).to(self.device), alike

    def loss(self, *batch: Tensor) -> Tensor:
        """Mean of both cross entropies."""
        pictures, ids, alike = batch
        logits = self.module(pictures, ids).masked_fill(alike, float("-inf"))
        count = len(pictures)
        own = torch.arange(count, device=self.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits[:, :count].T, own)) / 2


def same(said: Sequence[str], count: int) -> Tensor:
    """Bool ``[count, len(said)]``: where a caption says what a picture's own caption says, and is not that one."""
    numbers: dict[str, int] = {}
    keys = torch.tensor([numbers.setdefault(line, len(numbers)) for line in said])
    equal = keys[:count, None] == keys[None, :]
    equal[torch.arange(count), torch.arange(count)] = False
    return equal


class Judge:
    """A trained judge. Raises `TrainingError` when it was not trained, or for another run."""

    def __init__(self, run: Run, folder: Path, device: torch.device) -> None:
        self.device = device
        self.network = make_network(run)
        path = folder / "judge.safetensors"
        self.progress, weights = checkpoint.load_average(path)
        if self.progress.fingerprint != loop.fingerprint(run, "judge"):
            raise TrainingError(f"The checkpoint {path} belongs to other settings: train the judge with --restart.")
        self.network.load_state_dict(weights)
        self.network.to(device).eval()

    @torch.no_grad()
    def look(self, pictures: Pixels) -> Vectors:
        """Unit vectors ``[N, WIDTH]`` of uint8 pictures ``[N, S, S, 3]`` of any size."""
        parts = [
            self.network.looker(reduce(to_tensor(pictures[i : i + 64], self.device)))
            for i in range(0, len(pictures), 64)
        ]
        return functional.normalize(torch.cat(parts)).cpu().numpy()

    @torch.no_grad()
    def read(self, lines: Sequence[str]) -> Vectors:
        """Unit vectors ``[N, WIDTH]`` of captions."""
        parts = [self.network.reader(spell(lines[i : i + 256]).to(self.device)) for i in range(0, len(lines), 256)]
        return functional.normalize(torch.cat(parts)).cpu().numpy()
