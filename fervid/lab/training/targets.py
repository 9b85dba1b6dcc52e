"""Training targets of each head, from labels and votes, for images of one corpus that are passed once per epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import DataError
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.training.balance import class_weights
from fervid.lab.training.recipe import Recipe

__all__ = ["Task", "find_tasks", "loss_of", "targets_of", "truth_of"]


@dataclass(frozen=True)
class Task:
    """What one head learns.

    Parameters
    ----------
    name : str
    labels : tuple of str
        Its classes.
    first : int
        Index of its first output.
    smoothing : float
        Label smoothing.
    weight : Tensor, optional
        Weights of the classes in the loss.
    """

    name: str
    labels: tuple[str, ...]
    first: int
    smoothing: float = 0.0
    weight: Tensor | None = None

    @property
    def outputs(self) -> slice:
        """The outputs of the network that belong to this head."""
        return slice(self.first, self.first + len(self.labels))


def find_tasks(faces: FaceSet, recipe: Recipe) -> tuple[Task, ...]:
    """List the heads of a recipe on a set of faces, heads = "hard" or "both".

    Parameters
    ----------
    faces : FaceSet
    recipe : Recipe

    Returns
    -------
    tuple of Task

    Raises
    ------
    DataError
        If a head needs votes and there are none.
    """
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
    """Build the targets of all heads.

    Parameters
    ----------
    faces : FaceSet
    recipe : Recipe
    vote_weight : float
        Weight of the votes in the target of a single head.

    Returns
    -------
    Tensor
        (n, outputs); per head, a row sums to 1, or to 0 without votes.
    """
    if recipe.heads == "hard":
        return torch.from_numpy(faces.targets(vote_weight))
    both = [faces.targets(0), _votes(faces).astype(np.float32)]
    return torch.from_numpy(np.concatenate(both, 1))


def truth_of(faces: FaceSet, task: Task) -> np.ndarray:
    """Give the true class of each face for one head.

    Parameters
    ----------
    faces : FaceSet
    task : Task

    Returns
    -------
    np.ndarray
        (n,), by label or by majority of the votes; -1 for a tie.
    """
    if task.first == 0:
        return faces.label
    votes = _votes(faces)[:, [faces.vote_labels.index(name) for name in task.labels]]
    clear = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    return np.where(clear, votes.argmax(1), -1)


def loss_of(logits: Tensor, target: Tensor, tasks: Sequence[Task]) -> Tensor:
    """Sum the cross-entropies of the heads.

    Parameters
    ----------
    logits, target : Tensor
        (n, outputs). A target of zeros does not contribute.
    tasks : Sequence of Task

    Returns
    -------
    Tensor
        Scalar.
    """
    parts = [
        F.cross_entropy(
            logits[:, task.outputs], target[:, task.outputs],
            weight=None if task.weight is None else task.weight.to(logits.device), label_smoothing=task.smoothing,
        )
        for task in tasks
    ]  # fmt: skip
    return torch.stack(parts).sum()
