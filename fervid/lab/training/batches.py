"""The batches of an epoch: images passed once each (one corpus), or drawn from several corpora and resampled once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fervid.lab.data.datasets import FaceSet
from fervid.lab.training.augment import augment, change_pixels, uniform
from fervid.lab.training.degrade import degrade
from fervid.lab.training.mixture import Mixture
from fervid.lab.training.recipe import Recipe
from fervid.lab.training.resample import identity, random_moves, resample

__all__ = ["Batch", "Batches", "DrawnBatches", "PassedBatches", "placed"]

#: Kinds that move a face; the others change its pixels.
_MOVES = ("flip", "move", "shake")


@dataclass(frozen=True)
class Batch:
    """Images and what they teach.

    Parameters
    ----------
    x : Tensor
        (n, channels, h, h) in 0..1.
    target : Tensor
        (n, outputs).
    shift : Tensor or None
        (n, outputs), added to the logits in the loss.
    """

    x: Tensor
    target: Tensor
    shift: Tensor | None = None


class Batches(Protocol):
    """What a trainer learns from."""

    @property
    def steps(self) -> int:
        """Number of batches per epoch, at most."""

    def epoch(self, seed: int, strength: float, rank: int, workers: int) -> Iterator[Batch]:
        """Yield the share of one process in each batch of an epoch.

        Parameters
        ----------
        seed : int
            Of the epoch; seed + 1 + rank is used, too.
        strength : float
            Of the augmentation.
        rank, workers : int

        Yields
        ------
        Batch
        """


class PassedBatches:
    """Batches in which every image of one corpus occurs once per epoch, at the size at which it is stored.

    Parameters
    ----------
    faces : FaceSet
    target : Tensor
        (n, outputs).
    recipe : Recipe
    """

    def __init__(self, faces: FaceSet, target: Tensor, recipe: Recipe) -> None:
        self.faces, self.target, self.recipe = faces, target, recipe

    @property
    def steps(self) -> int:
        """Number of batches per epoch, at most."""
        return -(-len(self.faces) // self.recipe.batch_size)

    def epoch(self, seed: int, strength: float, rank: int, workers: int) -> Iterator[Batch]:
        """Yield batches; see `Batches.epoch`."""
        recipe, image = self.recipe, torch.from_numpy(self.faces.image)[:, None]
        order = torch.randperm(len(image), generator=torch.Generator().manual_seed(seed))
        generator = torch.Generator().manual_seed(seed + 1 + rank)
        rng = np.random.default_rng(seed + rank)
        for batch in order.split(recipe.batch_size):
            share = len(batch) // workers
            if share < 2:
                continue  # batch norm needs two
            chosen = batch[rank * share : (rank + 1) * share]
            x = augment(
                image[chosen].float() / 255,
                generator,
                strength=strength,
                size_px=recipe.window_px,
                kinds=recipe.augment_kinds,
            )
            target = self.target[chosen]
            if recipe.mixup:
                part, other = rng.beta(recipe.mixup, recipe.mixup), torch.randperm(share, generator=generator)
                x, target = torch.lerp(x[other], x, part), torch.lerp(target[other], target, part)
            yield Batch(x, target)


class DrawnBatches:
    """Batches of images that are drawn from several corpora, each resampled once from how it is stored.

    Parameters
    ----------
    mixture : Mixture
    recipe : Recipe
    device : torch.device or str
        Where the images lie and are resampled and augmented.
    """

    def __init__(self, mixture: Mixture, recipe: Recipe, device: torch.device | str = "cpu") -> None:
        self.mixture, self.recipe, self.device = mixture, recipe, torch.device(device)
        self.channels = 3 if recipe.colour else 1
        shares = torch.tensor([part.share for part in mixture.parts], dtype=torch.float64)
        self._shares = shares.cumsum(0).to(self.device)
        self._drawn = [torch.from_numpy(part.drawn).cumsum(0).to(self.device) for part in mixture.parts]
        self._targets = [mixture.target(part).to(self.device) for part in mixture.parts]
        self._shifts = [mixture.shift(part).to(self.device) for part in mixture.parts]
        sets = [part.corpus.faces for part in mixture.parts]
        self._images = [torch.from_numpy(faces.image).to(self.device) for faces in sets]
        self._median = [_median_place(faces).to(self.device) for faces in sets]
        self._own = [
            None if faces.placement is None else torch.from_numpy(faces.placement).float().to(self.device)
            for faces in sets
        ]

    @property
    def steps(self) -> int:
        """Number of batches per epoch."""
        pictures = self.recipe.epoch_pictures or sum(len(part.corpus.faces) for part in self.mixture.parts)
        return -(-pictures // self.recipe.batch_size)

    def epoch(self, seed: int, strength: float, rank: int, workers: int) -> Iterator[Batch]:
        """Yield batches; see `Batches.epoch`."""
        generator = torch.Generator(self.device).manual_seed(seed + 1 + rank)
        rng = np.random.default_rng(seed + rank)
        share = max(2, self.recipe.batch_size // workers)
        for _ in range(self.steps):
            yield self._batch(share, generator, rng, strength)

    def _batch(self, n: int, generator: torch.Generator, rng: np.random.Generator, strength: float) -> Batch:
        recipe = self.recipe
        of_corpus = _draw(self._shares, n, generator)
        xs, targets, shifts, others = [], [], [], []
        start = 0
        for i in range(len(self.mixture.parts)):
            m = int((of_corpus == i).sum())
            if not m:
                continue
            rows = _draw(self._drawn[i], m, generator)
            place = self._places(i, rows, generator, strength)
            xs.append(resample(self._images[i][rows], place, recipe.size_px, self.channels))
            targets.append(self._targets[i][rows])
            shifts.append(self._shifts[i].expand(m, -1))
            others.append(start + torch.randperm(m, generator=generator, device=self.device))
            start += m
        x = self._changed(torch.cat(xs), generator, strength)
        target = torch.cat(targets)
        if recipe.mixup:  # within a corpus, whose images share one shift of the logits
            weight, other = rng.beta(recipe.mixup, recipe.mixup), torch.cat(others)
            x, target = torch.lerp(x[other], x, weight), torch.lerp(target[other], target, weight)
        return Batch(x, target, torch.cat(shifts) if self.mixture.adjusted else None)

    def _places(self, i: int, rows: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        """Compose the placement of drawn faces with random moves."""
        recipe, part = self.recipe, self.mixture.parts[i]
        every = self._own[i]
        own = self._median[i].expand(len(rows), -1, -1) if every is None else every[rows]
        if part.options.unaligned:
            loose = uniform(len(rows), 0, 1, generator) < part.options.unaligned
            own = torch.where(loose[:, None, None], self._median[i], own)
        moves = strength if recipe.move_strength is None else recipe.move_strength * _relative(strength, recipe)
        move = random_moves(len(rows), generator, strength=moves, kinds=recipe.augment_kinds)
        linear = own[:, :, :2] @ move[:, :, :2]
        return torch.cat([linear, own[:, :, :2] @ move[:, :, 2:] + own[:, :, 2:]], 2)

    def _changed(self, x: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        kinds = self.recipe.augment_kinds
        if {"soften", "light", "compress", "erase"} & set(kinds):
            x = change_pixels(x, generator, strength=strength, kinds=kinds)
        return degrade(x, generator, strength=strength, kinds=kinds)


def _relative(strength: float, recipe: Recipe) -> float:
    """Of the strength of an epoch, the part that gentle epochs leave."""
    return strength / recipe.augment if recipe.augment else 1.0


def _draw(cumulative: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n indices with replacement."""
    drawn = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
    found = torch.searchsorted(cumulative, drawn * cumulative[-1])
    return found.clamp(max=len(cumulative) - 1)


def _median_place(faces: FaceSet) -> Tensor:
    return torch.from_numpy(faces.median_placement[None]).float()


def placed(
    faces: FaceSet, size_px: int, channels: int, *, unaligned: bool = False, rows: Sequence[int] | slice = slice(None)
) -> Tensor:
    """Place faces without any augmentation, for validation.

    Parameters
    ----------
    faces : FaceSet
    size_px : int
    channels : int
    unaligned : bool
        Whether all faces are placed by the median of their placements.
    rows : sequence of int or slice
        The faces.

    Returns
    -------
    Tensor
        (n, channels, size_px, size_px) in 0..1.
    """
    image = faces.image[rows]
    if faces.placement is None:
        place = identity(len(image))
    elif unaligned:
        place = _median_place(faces).repeat(len(image), 1, 1)
    else:
        place = torch.from_numpy(faces.placement[rows]).float()
    return resample(image, place, size_px, channels)
