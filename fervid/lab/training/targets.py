"""Training targets of each head: labels, votes, and the predictions of teachers (distillation)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import DataError
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.data.images import as_channels
from fervid.lab.training.balance import class_weights
from fervid.lab.training.distributed import all_gather, rank_and_size
from fervid.lab.training.recipe import Recipe

__all__ = [
    "Task",
    "blend_targets",
    "distillation_targets",
    "find_tasks",
    "loss_of",
    "mirrored",
    "targets_of",
    "truth_of",
]

_PRECISION = {"auto": "auto", "on": "bf16", "off": "fp32"}


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
    """List the heads of a recipe on a set of faces.

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


def distillation_targets(faces: FaceSet, tasks: Sequence[Task], recipe: Recipe, device: str) -> Tensor | None:
    """Average the teachers' calibrated predictions on each face and (where training flips) its mirror image.

    A teacher contributes to every task whose classes one of its heads has. Several processes share the faces.

    Parameters
    ----------
    faces : FaceSet
    tasks : Sequence of Task
    recipe : Recipe
    device : str

    Returns
    -------
    Tensor or None
        (n, outputs); None without teachers.

    Raises
    ------
    DataError
        If a teacher fits no task, or a task has no teacher.
    """
    if not recipe.teacher:
        return None
    rank, workers = rank_and_size()
    share = faces.take(np.arange(len(faces)) % workers == rank)
    predictions: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
    for weights in recipe.teacher:
        teacher = TorchClassifier(weights, device, precision=_PRECISION[recipe.bf16])
        views = mirrored(_crops(share.image, teacher.crop_px), recipe)
        for name, prob in _predict(teacher, views, tasks).items():
            predictions[name].append(prob)
    for task in tasks:
        if not predictions[task.name]:
            raise DataError(f"{recipe.teacher[0]}: a teacher of {task.name} must know {', '.join(task.labels)}")
    return all_gather(torch.cat([torch.stack(predictions[task.name]).mean(0) for task in tasks], 1), len(faces))


def mirrored(image: np.ndarray, recipe: Recipe) -> list[np.ndarray]:
    """Give images, and their mirror images if training flips.

    Parameters
    ----------
    image : np.ndarray
        (n, h, h).
    recipe : Recipe

    Returns
    -------
    list of np.ndarray
    """
    return [image, np.ascontiguousarray(image[:, :, ::-1])] if "flip" in recipe.augment_kinds else [image]


def _predict(teacher: TorchClassifier, views: list[np.ndarray], tasks: Sequence[Task]) -> dict[str, Tensor]:
    heads = {frozenset(head.labels): head for head in teacher.heads}
    known = [task for task in tasks if frozenset(task.labels) in heads]
    if not known:
        raise DataError(f"{teacher.path}: a teacher of {tasks[0].name} must know {', '.join(tasks[0].labels)}")
    logits = [torch.from_numpy(teacher.logits(as_channels(view, teacher.channels))) for view in views]
    predictions = {}
    for task in known:
        head = heads[frozenset(task.labels)]
        views_prob = [torch.softmax(one[:, head.outputs] / head.temperature, 1) for one in logits]
        prob = torch.stack(views_prob).mean(0)
        predictions[task.name] = prob[:, [head.labels.index(name) for name in task.labels]]
    return predictions


def blend_targets(target: Tensor, prediction: Tensor | None, tasks: Sequence[Task], weight: float) -> Tensor:
    """Blend the predictions of the teachers into the targets (Hinton et al. 2015, arXiv 1503.02531).

    Parameters
    ----------
    target : Tensor
        (n, outputs).
    prediction : Tensor, optional
        (n, outputs), of the teachers.
    tasks : Sequence of Task
    weight : float
        Weight of the teachers; 1 where a face has no target.

    Returns
    -------
    Tensor
        (n, outputs).
    """
    if prediction is None:
        return target
    share = torch.full_like(target, weight)
    for task in tasks:
        share[target[:, task.outputs].sum(1) == 0, task.outputs] = 1.0
    return torch.lerp(target, prediction, share)


def _crops(image: np.ndarray, side_px: int) -> np.ndarray:
    if image.shape[-1] == side_px:
        return image
    x = torch.from_numpy(image)[:, None].float()
    x = F.interpolate(x, (side_px, side_px), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).byte().numpy()[:, 0]
