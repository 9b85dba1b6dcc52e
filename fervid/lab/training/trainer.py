"""The state of one training run: network, moving average, optimiser and history."""

import contextlib
import pickle
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fervid.errors import DataError
from fervid.lab.data.datasets import FaceSet
from fervid.lab.training.balance import balance
from fervid.lab.training.batches import Batch, Batches, DrawnBatches, PassedBatches, placed
from fervid.lab.training.consistency import AttentionMaps
from fervid.lab.training.data import TrainingData
from fervid.lab.training.distillation import blend_targets, distillation_targets
from fervid.lab.training.distributed import broadcast, data_parallel, rank_and_size
from fervid.lab.training.mixture import CorpusTargets, Mixture, mixture_of
from fervid.lab.training.optimisation import frozen_stages, optimiser_of, perturbed
from fervid.lab.training.pretrained import load_backbone, recalibrate_bn
from fervid.lab.training.priors import stated_prior
from fervid.lab.training.recipe import Recipe, same_recipe
from fervid.lab.training.schedule import rate_at
from fervid.lab.training.targets import Task, find_tasks, loss_of, targets_of, truth_of
from fervid.lab.training.validation import measure
from fervid.networks.base import Network
from fervid.networks.registry import build
from fervid.runtime.device import has_bf16

__all__ = ["Trainer"]

#: Of ImageNet's images, on which published colour networks were trained.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


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
        self.channels = 3 if recipe.colour else 1
        self.history: list[dict[str, float]] = []
        self.material = material.fingerprint
        self.best: dict[str, Any] = {"accuracy": -1.0, "epoch": 0}
        self.bf16 = recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_bf16(device))
        self.mean_std = _IMAGENET if recipe.colour else _mean_std(material)
        self.mixture: Mixture | None = None
        self.batches = (
            self._draw(material, checkpoint) if recipe.draws or len(material.corpora) > 1 else self._pass(material)
        )
        self.net, self.averaged = self._build(), self._build().eval()
        frozen_norms = load_backbone(self.net, recipe.arch, recipe.init)
        if frozen_norms and not recipe.freeze:
            recalibrate_bn(self.net, self._normalise(self.placed(material.corpora[0].faces, slice(1024))))
        self.averaged.load_state_dict(self.net.state_dict())
        if recipe.freeze:
            self.net.requires_grad_(False).head.requires_grad_(True)
        self._frozen = [stage.module.requires_grad_(False) for stage in frozen_stages(self.net, recipe.freeze_blocks)]
        self._attention = None
        if recipe.consistency:
            self._attention = AttentionMaps(self.net, self._normalise(self.placed(material.corpora[0].faces, slice(2))))
        self.optimiser = optimiser_of(self.net, recipe)
        if checkpoint.exists():
            self._load(checkpoint)
        self.shared = data_parallel(self.net)

    def _pass(self, material: TrainingData) -> Batches:
        """Prepare one corpus whose images are passed once per epoch."""
        recipe = self.recipe
        self.tasks = find_tasks(material.faces, recipe)
        _check_heads(self.tasks, find_tasks(material.validation, recipe), material.validation.name)
        self.faces = balance(material.faces, recipe.balance, recipe.seed)
        self.teacher_prob = distillation_targets(self.faces, self.tasks, recipe, str(self.device))
        return PassedBatches(self.faces, self.targets(recipe.vote_weight), recipe)

    def _draw(self, material: TrainingData, checkpoint: Path) -> Batches:
        """Prepare corpora from which images are drawn."""
        self.recipe.check_draws()
        folder = checkpoint.parent if checkpoint.parent.is_dir() else None
        self.mixture = mixture_of(material, self.recipe, str(self.device), folder)
        self.tasks = self.mixture.tasks
        stated_prior(self.mixture, self.tasks[0], self.recipe)  # an error of the recipe, before training
        return DrawnBatches(self.mixture, self.recipe, self.device)

    def _build(self) -> Network:
        recipe = self.recipe
        net = build(recipe.arch, self.tasks[-1].outputs.stop, size_px=recipe.size_px, channels=self.channels)
        net.drop.p = recipe.dropout
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
        """Whether all epochs or minutes are done, or patience has run out."""
        recipe, patience = self.recipe, self.recipe.patience
        over = self.epoch >= recipe.epochs if recipe.minutes is None else self._done(0) >= 1
        return over or (patience is not None and self.stale >= patience)

    def _done(self, more_s: float) -> float:
        """How much of the recipe's minutes has passed: in finished epochs, and `more_s` in this one."""
        assert self.recipe.minutes is not None
        return (sum(row["seconds"] for row in self.history) + more_s) / (60 * self.recipe.minutes)

    @property
    def _seed(self) -> int:
        """A distinct seed for each epoch, with room for one per process."""
        return (self.recipe.seed * 100_000 + self.epoch) * 1000

    def one_epoch(self) -> dict[str, float]:
        """Train for one epoch; give the mean loss, and the accuracy on the augmented faces."""
        torch.manual_seed(self._seed + self.rank)  # so that dropout is the same in a resumed run
        recipe, started = self.recipe, perf_counter()
        self.net.train(not recipe.freeze)
        self.net.drop.train()
        for part in self._frozen:
            part.eval()
        gentle = recipe.minutes is None and self.epoch >= recipe.epochs - recipe.gentle_epochs
        strength = recipe.augment * (0.5 if gentle else 1.0)
        loss_sum, right, seen, judged, rate = 0.0, 0, 0, 0, 0.0
        for batch in self.batches.epoch(self._seed, strength, self.rank, self.workers):
            done = 0.0 if recipe.minutes is None else self._done(perf_counter() - started)
            if done >= 1 and seen:
                break
            rate = self._set_rate(done)
            loss, logits = self._step(batch)
            loss_sum += loss * len(batch.x)
            first = self.tasks[0].outputs
            target = batch.target[:, first].to(logits.device)
            known = target.sum(1) > 0
            right += int(((logits[:, first].argmax(1) == target.argmax(1)) & known).sum())
            judged += int(known.sum())
            seen += len(batch.x)
        means = {"train_loss": loss_sum / seen, "train_accuracy": right / max(judged, 1)}
        return {"epoch": self.epoch + 1, "rate": rate} | means

    def _step(self, batch: Batch) -> tuple[float, Tensor]:
        """Change the weights by one batch; give its loss and its logits."""
        x, target = self._normalise(batch.x), batch.target.to(self.device)
        shift = None if batch.shift is None else batch.shift.to(self.device)
        self.optimiser.zero_grad(set_to_none=True)
        loss, logits = self._loss(x, target, shift)
        loss.backward()
        if self.recipe.sam:
            with perturbed(self.net, self.recipe.sam):
                self._loss(x, target, shift)[0].backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return loss.item(), logits.detach()

    def _loss(self, x: Tensor, target: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the loss of a batch, and its logits."""
        n = len(x)
        if self._attention is not None:
            x = torch.cat([x, x.flip(-1)])
        with self._autocast():
            logits = self.shared(x)[:n]
        logits = logits.float()
        loss = loss_of(logits if shift is None else logits + shift, target, self.tasks)
        if self._attention is not None:
            loss = loss + self.recipe.consistency * self._attention.difference()
        return loss, logits

    def _normalise(self, x: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(value, device=self.device)[:, None, None] if isinstance(value, tuple) else value
            for value in self.mean_std
        )
        return ((x.to(self.device) - mean) / std).contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def _set_rate(self, done: float = 0.0) -> float:
        """Set the learning rates of this step; give that of the last layers."""
        drops = self.best.get("drops", 0)
        rate = rate_at(self.recipe, self.step, self.batches.steps, drops=drops, done=done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        return rate

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for slow, fast in zip(self.averaged.state_dict().values(), self.net.state_dict().values()):
            slow.lerp_(fast, 1 - decay) if slow.dtype.is_floating_point else slow.copy_(fast)

    @torch.no_grad()
    def predict(self, faces: FaceSet, call: Callable[[Tensor], Tensor], *, mirrored: bool = False) -> Tensor:
        """Apply the averaged network, or a part of it, to unaugmented faces.

        Parameters
        ----------
        faces : FaceSet
        call : Callable
            The averaged network, or its method.
        mirrored : bool
            Whether to mirror the images.

        Returns
        -------
        Tensor
            (n, ...) float32.
        """
        parts = []
        for start in range(0, len(faces), 256):
            x = self._normalise(self.placed(faces, slice(start, start + 256)))
            with self._autocast():
                parts.append(call(x.flip(-1) if mirrored else x).float())
        return torch.cat(parts)

    def placed(self, faces: FaceSet, rows: slice) -> Tensor:
        """Place faces in the network's input, without augmentation.

        Parameters
        ----------
        faces : FaceSet
        rows : slice
            Which of them.

        Returns
        -------
        Tensor
            (n, channels, h, h) in 0..1.
        """
        size = faces.size_px if self.mixture is None else self.recipe.size_px
        return placed(faces, size, self.channels, unaligned=self._unaligned(faces), rows=rows)

    def _unaligned(self, faces: FaceSet) -> bool:
        """Whether most training faces of a set's corpus are placed by their median."""
        parts = () if self.mixture is None else self.mixture.parts
        own = [p for p in parts if faces is p.corpus.faces or faces is p.corpus.validation]
        return bool(own) and own[0].options.unaligned >= 0.5

    def logits_of(self, part: CorpusTargets) -> np.ndarray:
        """Compute the averaged network's logits of a corpus's validation faces.

        Parameters
        ----------
        part : CorpusTargets

        Returns
        -------
        np.ndarray
            (n, outputs) float32.
        """
        return self.predict(part.corpus.validation, self.averaged).cpu().numpy()

    def validate(self, material: TrainingData) -> dict[str, float]:
        """Measure the averaged network on the validation faces.

        Parameters
        ----------
        material : TrainingData

        Returns
        -------
        dict of str to float
            The loss, and the accuracy of each head; of several corpora, see `validation.measure`.
        """
        if self.mixture is not None:
            found = measure(self.mixture, self.recipe, self.logits_of)
            return dict(zip(found, broadcast(list(found.values()))))
        return self._validate_one(material.validation)

    def _validate_one(self, faces: FaceSet) -> dict[str, float]:
        """Measure the averaged network on the validation faces of the only corpus."""
        names = [f"validation_accuracy{f'_{task.name}' if task.first else ''}" for task in self.tasks]
        found = [0.0] * (1 + len(names))
        if self.rank == 0:
            logits = self.predict(faces, self.averaged).cpu()
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
        row, recipe = self.history[-1], self.recipe
        of = f"/{recipe.epochs}" if recipe.minutes is None else f", {100 * min(self._done(0), 1):.0f}% of the time"
        start = f"epoch {self.epoch}{of}  loss {row['train_loss']:.4f}  "
        if self.mixture is not None:
            return start + "  ".join(self._figures(part, row) for part in self.mixture.parts)
        parts = [
            f"{name.removeprefix('validation_').replace('_', ' ')} {row[name]:.4f}" for name in row if "_acc" in name
        ]
        return start + "  ".join(parts)

    def _figures(self, part: CorpusTargets, row: dict[str, float]) -> str:
        """Describe the heads on one corpus: accuracy, mean recall, and the accuracy under the corpus's own prior."""
        heads = []
        for task in self.tasks:
            key = f"{part.corpus.name}_{task.name}"
            if f"validation_accuracy_{key}" in row:
                accuracy, recall = row[f"validation_accuracy_{key}"], row[f"validation_recall_{key}"]
                own = row[f"validation_own_accuracy_{key}"]
                measured = f"mean recall {recall:.2f}; {own:.1%} under the corpus's own frequencies"
                heads.append(f"{task.name} {accuracy:.1%} ({measured})")
        return f"{part.corpus.name}: {', '.join(heads)}"

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


def _mean_std(material: TrainingData) -> tuple[float, float]:
    """Mean and standard deviation of grey pixels; the mean of several corpora's."""
    found = []
    for corpus in material.corpora:
        pixels = corpus.faces.image.astype(np.float32) / 255
        found.append((float(pixels.mean()), float(pixels.std())))
    mean, std = np.mean(found, 0).tolist()
    return round(mean, 4), round(std, 4)
