"""What each head of a network learns from a set of faces: labels, votes, and the answers of teachers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import DataError
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.training.balance import class_weights
from fervid.lab.training.distributed import all_gather, rank_and_size
from fervid.lab.training.recipe import Recipe

__all__ = ["Task", "ask_teachers", "find_tasks", "loss_of", "mirrored", "mix_answers", "targets_of", "truth_of"]

_PRECISION = {"auto": "auto", "on": "bf16", "off": "fp32"}


@dataclass(frozen=True)
class Task:
    """One head: its name and classes, which of the network's outputs are its own, how its loss is counted."""

    name: str
    labels: tuple[str, ...]
    first: int
    smoothing: float = 0.0
    weight: Tensor | None = None

    @property
    def outputs(self) -> slice:
        """Which of the network's outputs are these."""
        return slice(self.first, self.first + len(self.labels))


def find_tasks(faces: FaceSet, recipe: Recipe) -> tuple[Task, ...]:
    """Give the heads that a recipe asks for on these faces; DataError if they are to learn votes and have none."""
    name = "ferplus" if faces.labels == faces.vote_labels else "fer2013" if faces.labels == FER2013 else "labels"
    weight = torch.from_numpy(class_weights(faces)) if recipe.balance == "weights" else None
    labels = Task(name, faces.labels, 0, recipe.label_smoothing, weight)
    if recipe.heads == "hard":
        return (labels,)
    _votes(faces)
    return labels, Task("ferplus" if name != "ferplus" else "votes", faces.vote_labels, len(faces.labels))


def _votes(faces: FaceSet) -> np.ndarray:
    if faces.votes is None:
        raise DataError(f'{faces.name}: heads = "both" needs votes beside the labels, found labels only; use "hard"')
    return faces.votes


def targets_of(faces: FaceSet, recipe: Recipe, vote_weight: float) -> Tensor:
    """Give what all heads are to answer (n, outputs): each head's row sums to 1, or to 0 where nobody voted."""
    if recipe.heads == "hard":
        return torch.from_numpy(faces.targets(vote_weight))
    both = [faces.targets(0), _votes(faces).astype(np.float32)]
    return torch.from_numpy(np.concatenate(both, 1))


def truth_of(faces: FaceSet, task: Task) -> np.ndarray:
    """Give the right class of each face (n,) for one head, by label or by majority; -1 where the votes are tied."""
    if task.first == 0:
        return faces.label
    votes = _votes(faces)[:, [faces.vote_labels.index(name) for name in task.labels]]
    clear = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    return np.where(clear, votes.argmax(1), -1)


def loss_of(logits: Tensor, target: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Sum the heads' cross-entropies, each a mean over the faces (n, outputs); a row of zeros costs nothing."""
    parts = [
        F.cross_entropy(
            logits[:, task.outputs], target[:, task.outputs],
            weight=None if task.weight is None else task.weight.to(logits.device), label_smoothing=task.smoothing,
        )
        for task in tasks
    ]  # fmt: skip
    return torch.stack(parts).sum()


def ask_teachers(faces: FaceSet, tasks: Sequence[Task], recipe: Recipe, device: str) -> Tensor | None:
    """Give the mean answer of the recipe's teachers, who see each face as it is and mirrored (n, outputs), or None.

    Each answers, calibrated, for every task whose classes one of its heads has: a teacher of FER2013's labels may stand
    beside one that also knows votes. Several processes share the faces. DataError if a teacher can answer for no task,
    or a task has no teacher.
    """
    if not recipe.teacher:
        return None
    rank, workers = rank_and_size()
    share = faces.take(np.arange(len(faces)) % workers == rank)
    heard: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
    for weights in recipe.teacher:
        teacher = TorchClassifier(weights, device, precision=_PRECISION[recipe.bf16])
        views = mirrored(_crops(share.image, teacher.crop_px), recipe)
        answers = _ask(teacher, views, tasks)
        for name, prob in answers.items():
            heard[name].append(prob)
    for task in tasks:
        if not heard[task.name]:
            raise DataError(f"{recipe.teacher[0]}: a teacher of {task.name} must know {', '.join(task.labels)}")
    return all_gather(torch.cat([torch.stack(heard[task.name]).mean(0) for task in tasks], 1), len(faces))


def mirrored(image: np.ndarray, recipe: Recipe) -> list[np.ndarray]:
    """Give images (n, h, h) as they are, and their mirror images if training flips."""
    return [image, np.ascontiguousarray(image[:, :, ::-1])] if "flip" in recipe.augment_kinds else [image]


def _ask(teacher: TorchClassifier, views: list[np.ndarray], tasks: Sequence[Task]) -> dict[str, Tensor]:
    heads = {frozenset(head.labels): head for head in teacher.heads}
    known = [task for task in tasks if frozenset(task.labels) in heads]
    if not known:
        raise DataError(f"{teacher.path}: a teacher of {tasks[0].name} must know {', '.join(tasks[0].labels)}")
    seen = [torch.from_numpy(teacher.logits(view)) for view in views]
    answers = {}
    for task in known:
        head = heads[frozenset(task.labels)]
        prob = torch.stack([torch.softmax(logits[:, head.outputs] / head.temperature, 1) for logits in seen]).mean(0)
        answers[task.name] = prob[:, [head.labels.index(name) for name in task.labels]]
    return answers


def mix_answers(target: Tensor, answer: Tensor | None, tasks: Sequence[Task], weight: float) -> Tensor:
    """Mix the teachers' answer into the target (n, outputs) (Hinton et al. 2015, arXiv 1503.02531).

    Where nobody voted the teachers alone are heard.
    """
    if answer is None:
        return target
    share = torch.full_like(target, weight)
    for task in tasks:
        share[target[:, task.outputs].sum(1) == 0, task.outputs] = 1.0
    return torch.lerp(target, answer, share)


def _crops(image: np.ndarray, side_px: int) -> np.ndarray:
    if image.shape[-1] == side_px:
        return image
    x = torch.from_numpy(image)[:, None].float()
    x = F.interpolate(x, (side_px, side_px), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).byte().numpy()[:, 0]
