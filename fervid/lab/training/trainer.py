"""The state of one training run: network, moving average, optimiser and history."""

import contextlib
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fervid.errors import DataError
from fervid.lab.training.augment import augment
from fervid.lab.training.balance import balance
from fervid.lab.training.data import TrainingData
from fervid.lab.training.distributed import broadcast, data_parallel, rank_and_size
from fervid.lab.training.pretrained import load_backbone, recalibrate_bn
from fervid.lab.training.recipe import Recipe, same_recipe
from fervid.lab.training.targets import (
    Task,
    blend_targets,
    distillation_targets,
    find_tasks,
    loss_of,
    targets_of,
    truth_of,
)
from fervid.networks.base import Network
from fervid.networks.registry import build
from fervid.runtime.device import has_bf16

__all__ = ["Trainer"]


class Trainer:
    """One training run: network, moving average, optimiser and history. Each process has one.

    Parameters
    ----------
    material : TrainingData
    recipe : Recipe
    device : str
    checkpoint : Path
        Resumed if it exists.

    Raises
    ------
    DataError
        If the checkpoint does not fit, or the two sets have different heads.
    """

    def __init__(self, material: TrainingData, recipe: Recipe, device: str, checkpoint: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step = recipe, torch.device(device), 0
        self.rank, self.workers = rank_and_size()
        self.history: list[dict[str, float]] = []
        self.material = material.fingerprint
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0}
        self.bf16 = recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_bf16(device))
        self.mean_std = _mean_std(material.faces.image)
        self.tasks = find_tasks(material.faces, recipe)
        _check_heads(self.tasks, find_tasks(material.validation, recipe), material.validation.name)
        self.faces = balance(material.faces, recipe.balance, recipe.seed)
        self.teacher_prob = distillation_targets(self.faces, self.tasks, recipe, device)
        self.target = self.targets(recipe.vote_weight)
        self.net, self.averaged = self._build(), self._build().eval()
        frozen_norms = load_backbone(self.net, recipe.arch, recipe.init)
        if frozen_norms and not recipe.freeze:
            recalibrate_bn(self.net, self._normalise(torch.from_numpy(self.faces.image[:1024, None]).float() / 255))
        self.averaged.load_state_dict(self.net.state_dict())
        if recipe.freeze:
            self.net.requires_grad_(False).head.requires_grad_(True)
        self.optimiser = _optimiser(self.net, recipe)
        if checkpoint.exists():
            self._load(checkpoint)
        self.shared = data_parallel(self.net)

    def _build(self) -> Network:
        last = self.tasks[-1]
        net = build(self.recipe.arch, last.outputs.stop)
        net.drop.p = self.recipe.dropout
        return net.to(self.device).to(memory_format=torch.channels_last)

    def targets(self, vote_weight: float) -> Tensor:
        """Build the targets of all heads, with the share of the teachers.

        Parameters
        ----------
        vote_weight : float
            Weight of the votes in the target of a single head.

        Returns
        -------
        Tensor
            (n, outputs).
        """
        own = targets_of(self.faces, self.recipe, vote_weight)
        return blend_targets(own, self.teacher_prob, self.tasks, self.recipe.teacher_weight)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def stale(self) -> int:
        """Number of epochs since the best accuracy on the validation faces."""
        return self.epoch - int(self.best["epoch"])

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        patience = self.recipe.patience
        return self.epoch >= self.recipe.epochs or (patience is not None and self.stale >= patience)

    @property
    def _seed(self) -> int:
        """A distinct seed for each epoch, with room for one per process."""
        return (self.recipe.seed * 100_000 + self.epoch) * 1000

    def one_epoch(self) -> dict[str, float]:
        """Train for one epoch; give the mean loss, and the accuracy on the augmented faces."""
        torch.manual_seed(self._seed + self.rank)  # so that dropout is the same in a resumed run
        self.net.train(not self.recipe.freeze)
        self.net.drop.train()
        loss_sum, right, seen, rate = 0.0, 0, 0, 0.0
        for x, target in self._batches():
            rate = self._set_rate()
            with self._autocast():
                logits = self.shared(x)
            loss = loss_of(logits.float(), target, self.tasks)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimiser.step()
            self.step += 1
            self._average()
            loss_sum += loss.item() * len(x)
            first = self.tasks[0].outputs
            right += int((logits[:, first].argmax(1) == target[:, first].argmax(1)).sum())
            seen += len(x)
        return {"epoch": self.epoch + 1, "rate": rate, "train_loss": loss_sum / seen, "train_accuracy": right / seen}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the share of this process in each batch: augmented and normalised images, and their targets."""
        recipe, image = self.recipe, torch.from_numpy(self.faces.image)[:, None]
        order = torch.randperm(len(image), generator=torch.Generator().manual_seed(self._seed))
        generator = torch.Generator().manual_seed(self._seed + 1 + self.rank)
        rng = np.random.default_rng(self._seed + self.rank)
        gentle = self.epoch >= recipe.epochs - recipe.gentle_epochs
        strength = recipe.augment * (0.5 if gentle else 1.0)
        for batch in order.split(recipe.batch_size):
            share = len(batch) // self.workers
            if share < 2:
                continue  # batch norm needs two
            chosen = batch[self.rank * share : (self.rank + 1) * share]
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
            yield self._normalise(x), target.to(self.device)

    def _normalise(self, x: Tensor) -> Tensor:
        mean, std = self.mean_std
        return ((x.to(self.device) - mean) / std).contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def _set_rate(self) -> float:
        """Set the learning rate: linear warm-up, then a cosine to zero or a step down at each plateau."""
        recipe = self.recipe
        per_epoch = math.ceil(len(self.faces) / recipe.batch_size)
        warm, total = recipe.warmup_epochs * per_epoch, recipe.epochs * per_epoch
        rate = recipe.peak_rate
        if self.step < warm:
            rate *= (self.step + 1) / warm
        elif recipe.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * (self.step - warm) / (total - warm)))
        else:
            rate *= recipe.plateau_factor ** self.best.get("drops", 0)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for slow, fast in zip(self.averaged.state_dict().values(), self.net.state_dict().values()):
            slow.lerp_(fast, 1 - decay) if slow.dtype.is_floating_point else slow.copy_(fast)

    @torch.no_grad()
    def predict(self, image: np.ndarray, call: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply the averaged network, or a part of it, to unaugmented images.

        Parameters
        ----------
        image : np.ndarray
            (n, h, w) uint8.
        call : Callable
            The averaged network, or its method.

        Returns
        -------
        Tensor
            (n, ...) float32.
        """
        parts = []
        for start in range(0, len(image), 256):
            x = self._normalise(torch.from_numpy(image[start : start + 256])[:, None].float() / 255)
            with self._autocast():
                parts.append(call(x).float())
        return torch.cat(parts)

    def validate(self, material: TrainingData) -> dict[str, float]:
        """Measure the averaged network on the validation faces.

        Parameters
        ----------
        material : TrainingData

        Returns
        -------
        dict of str to float
            The loss, and the accuracy of each head.
        """
        faces = material.validation
        names = [f"validation_accuracy{f'_{task.name}' if task.first else ''}" for task in self.tasks]
        found = [0.0] * (1 + len(names))
        if self.rank == 0:
            logits = self.predict(faces.image, self.averaged).cpu()
            found[0] = loss_of(logits, targets_of(faces, self.recipe, self.recipe.vote_weight), self.tasks).item()
            for i, task in enumerate(self.tasks):
                truth = truth_of(faces, task)
                right = logits[:, task.outputs].argmax(1).numpy() == truth
                found[i + 1] = float(right[truth >= 0].mean())
        return dict(zip(("validation_loss", *names), broadcast(found)))

    def record(self, row: dict[str, float]) -> None:
        """Append an epoch to the history; keep the best network if the run may stop early.

        Parameters
        ----------
        row : dict of str to float
            The measures of the epoch.
        """
        self.history.append(row)
        if row["validation_accuracy"] > self.best["accuracy"]:
            self.best |= {"accuracy": row["validation_accuracy"], "epoch": self.epoch}
            if self.recipe.patience is not None:
                self.best["net"] = deepcopy(self.averaged.state_dict())
        elif self.stale % self.recipe.plateau_epochs == 0:
            self.best["drops"] = self.best.get("drops", 0) + 1

    def line(self) -> str:
        """Describe the last epoch in one line."""
        row = self.history[-1]
        parts = [
            f"{name.removeprefix('validation_').replace('_', ' ')} {row[name]:.4f}" for name in row if "_acc" in name
        ]
        return f"epoch {self.epoch}/{self.recipe.epochs}  loss {row['train_loss']:.4f}  {'  '.join(parts)}"

    def save(self, path: Path) -> None:
        """Write a checkpoint from which a later session can resume.

        Parameters
        ----------
        path : Path
        """
        state = {
            "recipe": asdict(self.recipe),
            "material": self.material,
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "net": self.net.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        part = path.with_suffix(".tmp")
        torch.save(state, part)
        part.replace(path)

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            stored = state["recipe"], state["material"]
        except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as e:
            reason = str(e).splitlines()[0]
            raise DataError(f"{path}: not a checkpoint of this version of fervid ({reason}); remove it") from None
        for fits, what in (
            (same_recipe(stored[0], self.recipe), "another recipe"),
            (stored[1] == self.material, "other faces"),
        ):
            if not fits:
                raise DataError(f"{path}: this checkpoint has {what}; use another --out or remove it")
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
        self.net.load_state_dict(state["net"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])


def _check_heads(training: Sequence[Task], validation: Sequence[Task], name: str) -> None:
    for one, other in zip(training, validation):
        if one.labels != other.labels:
            raise DataError(f"{name}: {one.name} has the classes {', '.join(other.labels)}; expected {one.labels}")


def _mean_std(image: np.ndarray) -> tuple[float, float]:
    pixels = image.astype(np.float32) / 255
    return round(float(pixels.mean()), 4), round(float(pixels.std()), 4)


def _optimiser(net: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimiser of all trainable weights; biases and norms have no weight decay."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.peak_rate)
    return torch.optim.SGD(groups, lr=recipe.peak_rate, momentum=0.9, nesterov=True)
