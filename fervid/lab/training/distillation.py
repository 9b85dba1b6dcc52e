"""Predictions of teachers as part of the targets (Hinton et al. 2015, arXiv 1503.02531)."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import DataError
from fervid.faces.crop import FaceAlignment
from fervid.files import write_atomically
from fervid.lab.data.datasets import FaceSet
from fervid.lab.training.distributed import all_gather, rank_and_size
from fervid.lab.training.recipe import Recipe
from fervid.lab.training.resample import identity, resample
from fervid.lab.training.targets import Task
from fervid.networks.weights import model_fingerprint

__all__ = ["blend_targets", "distillation_targets", "mirrored", "teacher_predictions", "teacher_views"]

_PRECISION = {"auto": "auto", "on": "bf16", "off": "fp32"}
#: Faces that a teacher sees at once: bounds the memory of its crops.
_BLOCK = 256
#: Images lie as a teacher knows them where the crop around the median face is the image, up to this part of the side.
_IN_PLACE = 0.03


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
    predictions = teacher_predictions(faces, tasks, recipe, device)
    for task in tasks:
        if predictions[task.name] is None:
            raise DataError(f"{recipe.teacher[0]}: a teacher of {task.name} must know {', '.join(task.labels)}")
    return torch.cat([prob for prob in predictions.values() if prob is not None], 1)


def teacher_predictions(
    faces: FaceSet,
    tasks: Sequence[Task],
    recipe: Recipe,
    device: str,
    aligned: FaceAlignment | None = None,
    cache: Path | None = None,
) -> dict[str, Tensor | None]:
    """Average the teachers' calibrated predictions for those of several tasks that they know.

    Each teacher sees its own crop of a face, as in the line. Several processes share the faces.

    Parameters
    ----------
    faces : FaceSet
    tasks : Sequence of Task
    recipe : Recipe
    device : str
    aligned : FaceAlignment, optional
        Where landmarks lie in the network's input; needed for faces with a placement.
    cache : Path, optional
        Folder for the predictions, which a resumed run reads.

    Returns
    -------
    dict of str to Tensor or None
        Per task (n, K) probabilities; None if no teacher has a head with its classes.

    Raises
    ------
    DataError
        If a teacher knows none of the tasks.
    """
    path = None if cache is None else cache / f"teacher-{_key(faces, tasks, recipe)}.npz"
    if path is not None and path.is_file():
        with np.load(path) as stored:
            return {task.name: torch.from_numpy(stored[task.name]) if task.name in stored else None for task in tasks}
    rank, workers = rank_and_size()
    share = faces if workers == 1 else faces.take(np.arange(len(faces)) % workers == rank)
    sums: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
    for weights in recipe.teacher:
        teacher = TorchClassifier(weights, device, precision=_PRECISION[recipe.bf16])
        for name, prob in _predict(teacher, share, tasks, recipe, aligned).items():
            sums[name].append(prob)
    means = {
        name: all_gather(torch.stack(found).mean(0), len(faces)) if found else None for name, found in sums.items()
    }
    if path is not None and rank == 0:
        with write_atomically(path) as part, part.open("wb") as file:
            arrays: dict[str, Any] = {name: prob.numpy() for name, prob in means.items() if prob is not None}
            np.savez(file, **arrays)
    return means


def _key(faces: FaceSet, tasks: Sequence[Task], recipe: Recipe) -> str:
    """Identify what the predictions depend on."""
    teachers = [model_fingerprint(weights) for weights in recipe.teacher]
    names = [(task.name, task.labels) for task in tasks]
    text = repr((faces.fingerprint, teachers, names, "flip" in recipe.augment_kinds, recipe.bf16))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _predict(
    teacher: TorchClassifier, faces: FaceSet, tasks: Sequence[Task], recipe: Recipe, aligned: FaceAlignment | None
) -> dict[str, Tensor]:
    heads = {frozenset(head.labels): head for head in reversed(teacher.heads)}  # the first of several
    known = [task for task in tasks if frozenset(task.labels) in heads]
    if not known:
        raise DataError(f"{teacher.path}: a teacher of {tasks[0].name} must know {', '.join(tasks[0].labels)}")
    parts: dict[str, list[Tensor]] = {task.name: [] for task in known}
    for crop in teacher_views(teacher, faces, aligned):
        logits = [torch.from_numpy(teacher.logits(view)) for view in mirrored(crop, recipe)]
        for task in known:
            head = heads[frozenset(task.labels)]
            views = [torch.softmax(one[:, head.outputs] / head.temperature, 1) for one in logits]
            prob = torch.stack(views).mean(0)
            parts[task.name].append(prob[:, [head.labels.index(name) for name in task.labels]])
    return {name: torch.cat(found) for name, found in parts.items()}


def teacher_views(
    teacher: TorchClassifier, faces: FaceSet, aligned: FaceAlignment | None = None
) -> Iterator[np.ndarray]:
    """Crop faces as a teacher knows them, in blocks of bounded size.

    Parameters
    ----------
    teacher : TorchClassifier
    faces : FaceSet
        Without placement, the teacher sees whole images.
    aligned : FaceAlignment, optional
        As for `teacher_predictions`.

    Yields
    ------
    np.ndarray
        (m, crop_px, crop_px, channels) uint8.
    """
    side, channels = teacher.crop_px, teacher.channels
    places = None
    if faces.placement is not None and aligned is not None:
        places = _teacher_places(faces.placement, aligned, teacher.alignment)
    for start in range(0, len(faces), _BLOCK):
        image = faces.image[start : start + _BLOCK]
        if places is None and channels == 1 and image.ndim == 3:
            yield _resized(image, side)[..., None]
            continue
        place = identity(len(image)) if places is None else places[start : start + _BLOCK]
        crop = (resample(image, place, side, channels) * 255).round().byte()
        yield crop.permute(0, 2, 3, 1).contiguous().numpy()


def _teacher_places(placement: np.ndarray, aligned: FaceAlignment, alignment: FaceAlignment) -> Tensor | None:
    """Place a teacher's crops on faces whose landmarks `placement` maps from where they are in `aligned`.

    None where the images show faces as the teacher learned them: FER2013's do for a teacher of FER2013.
    """
    if alignment == aligned:
        return torch.from_numpy(placement).float()
    points = np.array(aligned.landmarks)
    seen = (placement[:, None, :, :2] @ points[:, :, None])[..., 0] + placement[:, None, :, 2]
    seen, model = seen @ np.array([1, 1j]), np.array(alignment.landmarks) @ np.array([1, 1j])
    middle, mean = seen.mean(1), model.mean()
    turn = ((seen - middle[:, None]) @ np.conj(model - mean)) / np.sum(np.abs(model - mean) ** 2)
    turn = turn * alignment.crop_scale
    corner = middle + turn * ((0.5 + 0.5j - mean) / alignment.crop_scale - (0.5 + 0.5j))
    rows = [np.stack([turn.real, -turn.imag, corner.real], 1), np.stack([turn.imag, turn.real, corner.imag], 1)]
    places = np.stack(rows, 1)
    median = np.median(places, 0)
    usual = np.array(alignment.landmarks)
    if np.abs(usual @ median[:, :2].T + median[:, 2] - usual).mean() <= _IN_PLACE:
        return None
    return torch.from_numpy(places).float()


def mirrored(image: np.ndarray, recipe: Recipe) -> list[np.ndarray]:
    """Give images, and their mirror images if training flips.

    Parameters
    ----------
    image : np.ndarray
        (n, h, h, channels).
    recipe : Recipe

    Returns
    -------
    list of np.ndarray
    """
    return [image, np.ascontiguousarray(image[:, :, ::-1])] if "flip" in recipe.augment_kinds else [image]


def blend_targets(target: Tensor, prediction: Tensor | None, tasks: Sequence[Task], weight: float) -> Tensor:
    """Blend the predictions of the teachers into the targets.

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


def _resized(image: np.ndarray, side_px: int) -> np.ndarray:
    if image.shape[-1] == side_px:
        return image
    x = torch.from_numpy(image)[:, None].float()
    x = F.interpolate(x, (side_px, side_px), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).byte().numpy()[:, 0]
