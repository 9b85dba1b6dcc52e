"""Measure a network on the validation faces of every corpus, under the stated and the corpus's own prior."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fervid.errors import DataError
from fervid.lab.evaluation.metrics import reliability
from fervid.lab.training.mixture import CorpusTargets, Mixture
from fervid.lab.training.priors import Evidence, stated_prior
from fervid.lab.training.recipe import Recipe

__all__ = ["Figures", "evidence_of", "figures_of", "measure"]


@dataclass(frozen=True)
class Figures:
    """What a head reaches on the validation faces of one corpus under one prior.

    Parameters
    ----------
    n : int
        Number of faces with a true class.
    accuracy : float
    recall : float
        Mean over the classes that occur.
    ece : float
        Expected calibration error.
    loss : float
        Mean negative log-likelihood.
    """

    n: int
    accuracy: float
    recall: float
    ece: float
    loss: float


def evidence_of(mixture: Mixture, logits: Callable[[CorpusTargets], np.ndarray]) -> dict[str, dict[str, Evidence]]:
    """Collect what the heads say of the validation faces.

    Parameters
    ----------
    mixture : Mixture
    logits : Callable
        Gives the logits (n, outputs) of a corpus's validation faces.

    Returns
    -------
    dict of str to dict of str to Evidence
        Per corpus and head, without heads that have no true classes there.
    """
    found: dict[str, dict[str, Evidence]] = {}
    for part in mixture.parts:
        raw, rows = logits(part), {}
        for task in mixture.tasks:
            if task.name in part.validation and (part.validation[task.name] >= 0).any():
                equal = raw[:, task.outputs] - np.log(mixture.assumed(task))
                own = part.heads[task.name].frequencies()
                rows[task.name] = Evidence(equal, part.validation[task.name], own).known()
        found[part.corpus.name] = rows
    return found


def figures_of(evidence: Evidence, prior: np.ndarray, temperature: float = 1.0) -> Figures:
    """Score a head under class frequencies.

    Parameters
    ----------
    evidence : Evidence
        Of faces with a true class.
    prior : np.ndarray
        (K,).
    temperature : float

    Returns
    -------
    Figures
    """
    prob, truth = evidence.probabilities(prior, temperature), evidence.truth
    right = prob.argmax(1) == truth
    recalls = [float(right[truth == k].mean()) for k in np.unique(truth)]
    loss = -np.log(np.maximum(prob[np.arange(len(truth)), truth], 1e-12)).mean()
    ece = reliability(prob, truth).error
    return Figures(len(truth), float(right.mean()), float(np.mean(recalls)), ece, float(loss))


def measure(mixture: Mixture, recipe: Recipe, logits: Callable[[CorpusTargets], np.ndarray]) -> dict[str, float]:
    """Measure a network after an epoch.

    Parameters
    ----------
    mixture : Mixture
    recipe : Recipe
    logits : Callable
        As for `evidence_of`.

    Returns
    -------
    dict of str to float
        `validation_loss`, `validation_accuracy` and `validation_recall`: means over the corpora, of the first head (or,
        where a corpus does not teach it, its own), under the stated prior. Then per corpus and head the accuracy and
        the mean recall, under the stated prior and, as `validation_own_*`, under the corpus's own class frequencies.

    Raises
    ------
    DataError
        If no validation face has a true class.
    """
    priors = {task.name: stated_prior(mixture, task, recipe) for task in mixture.tasks}
    rows: dict[str, float] = {}
    means: list[tuple[float, float, float]] = []
    for corpus, heads in evidence_of(mixture, logits).items():
        for i, (head, evidence) in enumerate(heads.items()):
            stated, own = figures_of(evidence, priors[head]), figures_of(evidence, evidence.own)
            rows |= {
                f"validation_accuracy_{corpus}_{head}": stated.accuracy,
                f"validation_recall_{corpus}_{head}": stated.recall,
                f"validation_own_accuracy_{corpus}_{head}": own.accuracy,
                f"validation_own_recall_{corpus}_{head}": own.recall,
            }
            if i == 0:
                means.append((own.loss, stated.accuracy, stated.recall))
    if not means:
        raise DataError("no validation face has a class that the network learns")
    loss, accuracy, recall = np.mean(means, 0).tolist()
    first = {"validation_loss": loss, "validation_accuracy": accuracy, "validation_recall": recall}
    return first | rows
