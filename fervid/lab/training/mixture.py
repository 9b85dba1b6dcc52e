"""What several corpora teach one network: its heads, the targets of every face, and how often each face is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fervid.errors import ConfigError, DataError
from fervid.lab.data.datasets import FER2013, FERPLUS, FaceSet
from fervid.lab.training.data import Corpus, TrainingData
from fervid.lab.training.distillation import teacher_predictions
from fervid.lab.training.recipe import CorpusRecipe, Recipe
from fervid.lab.training.targets import Task, find_tasks

__all__ = ["CorpusTargets", "HeadTargets", "Mixture", "majority_of", "mixture_of"]

#: Least frequency of a class in a prior: a class that was never drawn would have the logarithm minus infinity.
_LEAST = 1e-4
#: A face teaches the joint head where its classes have more than this share of the votes.
_LEAST_MASS = 0.4
_NAMES = {7: "seven", 8: "eight"}


@dataclass(frozen=True)
class HeadTargets:
    """What one corpus teaches one head.

    Parameters
    ----------
    target : np.ndarray
        (n, K) float32, rows sum to 1.
    weight : np.ndarray
        (n,) float32; 0 for faces that teach this head nothing.
    truth : np.ndarray
        (n,) int64, the class by which a face is judged; -1 for none.
    """

    target: np.ndarray
    weight: np.ndarray
    truth: np.ndarray

    def frequencies(self, drawn: np.ndarray | None = None) -> np.ndarray:
        """Measure how frequent the classes are.

        Parameters
        ----------
        drawn : np.ndarray, optional
            (n,) the probability with which each face is drawn; None: of the true classes, each face once.

        Returns
        -------
        np.ndarray
            (K,) float64, at least 0.0001 each.
        """
        if drawn is None:
            counts = np.bincount(self.truth[self.truth >= 0], minlength=self.target.shape[1]).astype(float)
        else:
            counts = (drawn * self.weight) @ self.target.astype(np.float64)
        return _at_least(counts)


@dataclass(frozen=True)
class CorpusTargets:
    """One corpus as training draws from it.

    Parameters
    ----------
    corpus : Corpus
    options : CorpusRecipe
        None of its fields is None, except for paths.
    share : float
        Share of the images in a batch.
    drawn : np.ndarray
        (n,) float64, the probability of each training face; sums to 1.
    heads : dict of str to HeadTargets
        By the names of the tasks that it teaches.
    validation : dict of str to np.ndarray
        Per task, the true classes of the validation faces; -1 for none.
    """

    corpus: Corpus
    options: CorpusRecipe
    share: float
    drawn: np.ndarray
    heads: dict[str, HeadTargets]
    validation: dict[str, np.ndarray]


@dataclass(frozen=True)
class Mixture:
    """The heads of a network and what each corpus teaches them.

    Parameters
    ----------
    tasks : tuple of Task
    weights : tuple of float
        Weight of each task in the loss.
    parts : tuple of CorpusTargets
    adjusted : bool
        Whether the loss adds the log of the class frequencies as drawn, so that logits assume equally frequent classes.
    """

    tasks: tuple[Task, ...]
    weights: tuple[float, ...]
    parts: tuple[CorpusTargets, ...]
    adjusted: bool

    @property
    def outputs(self) -> int:
        """Number of outputs of all heads."""
        return self.tasks[-1].outputs.stop

    def target(self, part: CorpusTargets) -> Tensor:
        """Give the targets of one corpus's faces for all heads, multiplied by their weights in the loss.

        Parameters
        ----------
        part : CorpusTargets

        Returns
        -------
        Tensor
            (n, outputs) float32.
        """
        target = torch.zeros(len(part.corpus.faces), self.outputs)
        for task, weight in zip(self.tasks, self.weights):
            if task.name in part.heads:
                head = part.heads[task.name]
                target[:, task.outputs] = torch.from_numpy(head.target * (weight * head.weight)[:, None])
        return target

    def shift(self, part: CorpusTargets) -> Tensor:
        """Give what the loss adds to the logits of one corpus's faces (Menon et al. 2021, arXiv 2007.07314).

        Parameters
        ----------
        part : CorpusTargets

        Returns
        -------
        Tensor
            (outputs,) float32; zeros without logit adjustment.
        """
        shift = torch.zeros(self.outputs)
        if self.adjusted:
            for task in self.tasks:
                if task.name in part.heads:
                    prior = part.heads[task.name].frequencies(part.drawn)
                    shift[task.outputs] = torch.from_numpy(np.log(prior)).float()
        return shift

    def assumed(self, task: Task) -> np.ndarray:
        """Give the class frequencies that the logits of a task assume.

        Parameters
        ----------
        task : Task

        Returns
        -------
        np.ndarray
            (K,) float64, sums to 1: equal with logit adjustment, else as drawn from all corpora.
        """
        k = len(task.labels)
        if self.adjusted:
            return np.full(k, 1 / k)
        counts = np.zeros(k)
        for part in self.teachers(task):
            head = part.heads[task.name]
            mass = float(part.drawn @ head.weight)
            counts += part.share * mass * head.frequencies(part.drawn)
        return _at_least(counts)

    def trained(self, task: Task) -> np.ndarray:
        """Give the frequencies of a task's classes in the training faces of all corpora, each face once.

        Parameters
        ----------
        task : Task

        Returns
        -------
        np.ndarray
            (K,) float64, sums to 1.
        """
        truths = [part.heads[task.name].truth for part in self.teachers(task)]
        truth = np.concatenate(truths)
        return _at_least(np.bincount(truth[truth >= 0], minlength=len(task.labels)).astype(float))

    def teachers(self, task: Task) -> list[CorpusTargets]:
        """List the corpora that teach a task."""
        return [part for part in self.parts if task.name in part.heads]


def _at_least(counts: np.ndarray) -> np.ndarray:
    frequency = np.maximum(counts / max(counts.sum(), 1e-12), _LEAST)
    return frequency / frequency.sum()


def mixture_of(material: TrainingData, recipe: Recipe, device: str, cache: Path | None = None) -> Mixture:
    """Decide the heads of a recipe on several corpora, and build the targets of every training face.

    Parameters
    ----------
    material : TrainingData
    recipe : Recipe
        Its corpora may lack some of the material's; these have the recipe's options.
    device : str
        Where teachers run.
    cache : Path, optional
        Folder for the predictions of teachers.

    Returns
    -------
    Mixture

    Raises
    ------
    ConfigError
        If `head_weights`, `export_heads` or `share` do not fit the heads and the corpora.
    DataError
        If a class of the joint head is in no corpus, two corpora share no class, or a teacher fits nothing.
    """
    options = {corpus.name: _options(corpus, recipe) for corpus in material.corpora}
    tasks = _tasks(material, recipe)
    names = [task.name for task in tasks]
    for word, given in (("head_weights", recipe.head_weights), ("export_heads", recipe.export_heads)):
        if unknown := [name for name in given if name not in names]:
            raise ConfigError(f"{word}: no head {unknown[0]}; expected {', '.join(names)}")
    tasks = _renumbered([t for t in tasks if t is tasks[0] or recipe.head_weights.get(t.name, 1.0) > 0])
    shares = _shares(material, options)
    parts = []
    for corpus, share in zip(material.corpora, shares):
        own = options[corpus.name]
        soft = _teach(corpus, recipe, own, material, device, cache)
        heads = _heads_of(corpus.faces, corpus.name, tasks, own, soft)
        truth = {name: head.truth for name, head in _heads_of(corpus.validation, corpus.name, tasks, own, {}).items()}
        parts.append(CorpusTargets(corpus, own, share, _drawn(corpus.faces, recipe.class_power), heads, truth))
    weights = tuple(recipe.head_weights.get(task.name, 1.0) for task in tasks)
    return Mixture(tuple(tasks), weights, tuple(parts), recipe.logit_adjustment)


def _options(corpus: Corpus, recipe: Recipe) -> CorpusRecipe:
    """Fill the options of a corpus from the recipe."""
    own = recipe.corpora.get(corpus.name, CorpusRecipe())
    shared = ("labels", "align", "vote_weight", "label_smoothing", "teacher_weight")
    filled = {name: getattr(recipe, name) for name in shared if getattr(own, name) is None}
    if recipe.heads == "both":  # the votes have a head of their own
        filled["vote_weight"] = own.label_vote_weight
    return replace(own, **filled)


def _tasks(material: TrainingData, recipe: Recipe) -> list[Task]:
    """List the heads in the order of the network's outputs."""
    if len(material.corpora) == 1 and recipe.heads != "joint":
        faces = material.faces
        if recipe.classes and set(recipe.classes) != set(faces.labels):
            raise ConfigError('classes are for heads = "joint" or several corpora; leave them out')
        return [Task(task.name, task.labels, task.first) for task in find_tasks(faces, recipe)]
    if recipe.heads == "both":
        raise ConfigError('heads = "both" is for one corpus; several need "joint", or "hard" for the joint head alone')
    present = {name for corpus in material.corpora for name in corpus.faces.present}
    if missing := [name for name in recipe.classes if name not in present]:
        raise DataError(f"classes: no corpus has {', '.join(missing)}; they have {', '.join(sorted(present))}")
    usual = FER2013 if recipe.heads == "joint" else material.labels
    classes = recipe.classes or tuple(name for name in usual if name in present)
    for corpus in material.corpora:
        if not corpus.faces.present & set(classes):
            raise DataError(
                f"{corpus.name} has {', '.join(sorted(corpus.faces.present))}, none of the classes {', '.join(classes)}"
            )
    heads = [(_NAMES.get(len(classes), "joint"), classes)]
    if recipe.heads == "joint":
        for corpus in material.corpora:
            heads.append((corpus.name, _own_labels(corpus.faces)))
        for corpus in material.corpora:
            if corpus.faces.votes is not None:
                heads.append((_votes_name(corpus.faces, corpus.name), corpus.faces.vote_labels))
    names = [name for name, _ in dict.fromkeys(heads)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"a corpus is called {twice[0]}, as another head: give it another name, as in --data mine=PATH"
        )
    return _renumbered([Task(name, labels, 0) for name, labels in dict.fromkeys(heads)])


def _own_labels(faces: FaceSet) -> tuple[str, ...]:
    """The labels that occur: those of all corpora number the faces."""
    count = np.bincount(faces.label, minlength=len(faces.labels))
    return tuple(name for name, n in zip(faces.labels, count) if n)


def _votes_name(faces: FaceSet, name: str) -> str:
    return "ferplus" if set(faces.vote_labels) == set(FERPLUS) else f"{name}_votes"


def _renumbered(tasks: Sequence[Task]) -> list[Task]:
    first, numbered = 0, []
    for task in tasks:
        numbered.append(Task(task.name, task.labels, first))
        first = numbered[-1].outputs.stop
    return numbered


def _shares(material: TrainingData, options: dict[str, CorpusRecipe]) -> list[float]:
    shares = [options[corpus.name].share for corpus in material.corpora]
    if any(share is None for share in shares) and any(share is not None for share in shares):
        lacking = next(corpus.name for corpus, share in zip(material.corpora, shares) if share is None)
        raise ConfigError(f"corpora.{lacking}: share missing; give one to every corpus, or to none")
    sizes = [len(corpus.faces) if share is None else share for corpus, share in zip(material.corpora, shares)]
    return [size / sum(sizes) for size in sizes]


def _drawn(faces: FaceSet, power: float) -> np.ndarray:
    """Give each face's probability: a class of n is drawn n ** (1 - power) times as often; votes decide the class."""
    group = faces.label
    if faces.votes is not None:
        known = faces.votes.sum(1) > 0
        group = np.where(known, faces.votes.argmax(1) + len(faces.labels), group)
    count = np.bincount(group)
    weight = count[group].astype(np.float64) ** -power
    return weight / weight.sum()


def majority_of(votes: np.ndarray) -> np.ndarray:
    """Find the class with more than half of the votes.

    Parameters
    ----------
    votes : np.ndarray
        (n, V) shares.

    Returns
    -------
    np.ndarray
        (n,) int64; -1 where there is none.
    """
    return np.where(votes.max(1) > 0.5, votes.argmax(1), -1)


# -- targets ------------------------------------------------------------------------------------------------


def _teach(
    corpus: Corpus, recipe: Recipe, options: CorpusRecipe, material: TrainingData, device: str, cache: Path | None
) -> dict[str, np.ndarray]:
    """Give the teachers' predictions of labels and votes, (n, K), where they know the classes."""
    if not recipe.teacher or not options.teacher_weight:
        return {}
    faces = corpus.faces
    tasks = [Task("labels", _own_labels(faces), 0)]
    if faces.votes is not None:
        tasks.append(Task("votes", faces.vote_labels, 0))
    aligned = None if faces.placement is None else material.alignment[0]
    found = teacher_predictions(faces, tasks, recipe, device, aligned, cache)
    return {name: prob.numpy() for name, prob in found.items() if prob is not None}


def _heads_of(
    faces: FaceSet, name: str, tasks: Sequence[Task], options: CorpusRecipe, soft: dict[str, np.ndarray]
) -> dict[str, HeadTargets]:
    """Build what a set of faces teaches each head."""
    teacher_weight = options.teacher_weight or 0.0
    by_labels = _Labelling(_one_hot(faces.label, len(faces.labels)), faces.labels)
    by_votes = None if faces.votes is None else _Labelling(faces.votes, faces.vote_labels)
    taught_votes = by_votes.blended(soft.get("votes"), teacher_weight) if by_votes else None
    votes_name = None if by_votes is None else _votes_name(faces, name)
    made = {}
    for i, task in enumerate(tasks):
        if task.name == votes_name or (i and task.name == "votes"):
            assert by_votes is not None and taught_votes is not None
            target, mass = taught_votes.mapped(task.labels)
            truth = majority_of(by_votes.mapped(task.labels)[0])
            made[task.name] = HeadTargets(target, (mass > 0).astype(np.float32), truth)
        elif i == 0 or task.name == name:
            vote_weight = (options.vote_weight if i == 0 else options.label_vote_weight) or 0.0
            plain = by_labels.smoothed(options.label_smoothing or 0.0, task.labels)
            if i or taught_votes is None:  # where there are votes, the joint head learns the teachers through them
                plain = plain.blended(soft.get("labels"), teacher_weight, _own_labels(faces))
            made[task.name] = _mixed(faces, task, plain, by_votes, taught_votes, vote_weight)
    return made


def _mixed(
    faces: FaceSet,
    task: Task,
    labels: "_Labelling",
    votes: "_Labelling | None",
    taught_votes: "_Labelling | None",
    vote_weight: float,
) -> HeadTargets:
    """Mix labels and votes into the target of a head over classes that either may lack."""
    hard, _ = labels.mapped(task.labels)
    own = np.array([task.labels.index(name) if name in task.labels else -1 for name in faces.labels])
    truth = own[faces.label]
    if votes is None or taught_votes is None or vote_weight == 0:
        return HeadTargets(hard, (truth >= 0).astype(np.float32), truth)
    soft, mass = taught_votes.mapped(task.labels)
    has_votes = votes.target.sum(1) > 0
    weight = np.where(has_votes, np.where(truth >= 0, vote_weight, 1.0), 0.0).astype(np.float32)[:, None]
    target = (1 - weight) * hard + weight * soft
    counts = np.where(has_votes, mass > _LEAST_MASS, truth >= 0).astype(np.float32)
    if vote_weight >= 0.5:
        renamed = np.array([task.labels.index(n) if n in task.labels else -1 for n in votes.labels] + [-1])
        truth = np.where(has_votes, renamed[majority_of(votes.target)], truth)
    return HeadTargets(target.astype(np.float32), counts, truth)


def _one_hot(label: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k, dtype=np.float32)[label]


@dataclass(frozen=True)
class _Labelling:
    """Shares (n, K) of the classes of one labelling."""

    target: np.ndarray
    labels: tuple[str, ...]

    def mapped(self, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Map to other classes by name: shares (n, len(labels)) that sum to 1, and how much of them was kept (n,)."""
        index = np.array([[own == other for other in labels] for own in self.labels], np.float32)
        kept = self.target @ index
        mass = kept.sum(1)
        return np.where(mass[:, None] > 0, kept / np.maximum(mass, 1e-9)[:, None], 0), mass

    def blended(self, other: np.ndarray | None, weight: float, labels: tuple[str, ...] | None = None) -> "_Labelling":
        """Blend shares of the same classes, or of `labels`, into the faces that have any."""
        if other is None or weight == 0:
            return self
        other = _Labelling(other, labels or self.labels).mapped(self.labels)[0]
        known = self.target.sum(1, keepdims=True) > 0
        return _Labelling(np.where(known, (1 - weight) * self.target + weight * other, 0), self.labels)

    def smoothed(self, smoothing: float, labels: tuple[str, ...]) -> "_Labelling":
        """Spread a share evenly over the classes that `labels` have, too."""
        shared = np.array([name in labels for name in self.labels], np.float32)
        spread = shared / max(shared.sum(), 1)
        known = (self.target @ shared > 0)[:, None]
        return _Labelling(np.where(known, (1 - smoothing) * self.target + smoothing * spread, self.target), self.labels)
