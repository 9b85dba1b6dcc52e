"""Finish a training run: refit the head, fit the temperatures, write the weights and the facts beside them."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from fervid.lab.evaluation.metrics import fit_temperature
from fervid.lab.training.data import TrainingData
from fervid.lab.training.mixture import Mixture
from fervid.lab.training.priors import Evidence, fit_shared_temperature, stated_prior
from fervid.lab.training.targets import Task, loss_of, truth_of
from fervid.lab.training.validation import evidence_of, figures_of

if TYPE_CHECKING:
    from fervid.lab.training.trainer import Trainer

__all__ = ["export_model", "refit_head"]


def export_model(out: Path, run: "Trainer", material: TrainingData) -> Path:
    """Write OUT/model.safetensors (matrices in half precision) and OUT/model.json with the facts that the line needs.

    Parameters
    ----------
    out : Path
        An existing folder.
    run : Trainer
    material : TrainingData

    Returns
    -------
    Path
        The weights.
    """
    weights, recipe = out / "model.safetensors", run.recipe
    net = run.averaged
    if "net" in run.best:
        net.load_state_dict(run.best["net"])
    if run.mixture is None and (recipe.arch == "seresnet" if recipe.refit is None else recipe.refit):
        refit_head(run)
    state = {k: (v.half() if v.ndim > 1 else v).cpu().contiguous() for k, v in net.state_dict().items()}
    net.load_state_dict(state)  # the facts are about the weights as written
    if run.mixture is None:
        heads, measured = _head_facts(run, material), {}
    else:
        heads, figures = _fold_priors(run, run.mixture, state)
        measured = {"validation": figures}
    saved = save(state)
    weights.write_bytes(saved)  # save_file would make it unreadable for other users
    mean, std = run.mean_std
    alignment, framing_from = material.alignment
    facts = {
        "arch": recipe.arch, "heads": heads,
        "input_px": recipe.size_px if run.mixture else material.faces.image.shape[1], "mean": mean, "std": std,
        **({"colour": True} if recipe.colour else {}), **({"terms": recipe.terms} if recipe.terms else {}),
        "recipe": asdict(recipe), "epochs": run.epoch,
        "framing": alignment.to_facts(), "framing_from": framing_from,
        "trained_on": ", ".join(corpus.faces.name for corpus in material.corpora),
        "temperature_fitted_on": ", ".join(corpus.validation.name for corpus in material.corpora),
        **measured, "sha256": hashlib.sha256(saved).hexdigest(),
    }  # fmt: skip
    weights.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return weights


# -- one corpus ---------------------------------------------------------------------------------------------


def _head_facts(run: "Trainer", material: TrainingData) -> list[dict[str, Any]]:
    """Measure each head on the validation faces and fit its temperature (Guo et al. 2017, arXiv 1706.04599)."""
    logits = run.predict(material.validation, run.averaged).cpu().numpy()
    target = run.targets(run.recipe.vote_weight).numpy()
    return [
        _facts(task, logits[:, task.outputs], truth_of(material.validation, task), target[:, task.outputs])
        for task in run.tasks
    ]


def _facts(task: Task, logits: np.ndarray, truth: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    clear = truth >= 0
    logits, truth = logits[clear], truth[clear]
    frequency = target.mean(0) * (1 if task.weight is None else task.weight.numpy())
    prior = np.maximum(frequency / frequency.sum(), 1e-4)
    return {
        "name": task.name, "labels": task.labels, "temperature": round(fit_temperature(logits, truth), 4),
        "prior": _rounded(prior), "validation_accuracy": round(float((logits.argmax(1) == truth).mean()), 4),
    }  # fmt: skip


def _rounded(prior: np.ndarray) -> list[float]:
    return [round(value, 6) for value in (prior / prior.sum()).tolist()]


# -- several corpora ----------------------------------------------------------------------------------------


def _fold_priors(
    run: "Trainer", mixture: Mixture, state: dict[str, Tensor]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Fit the temperatures, move the stated priors into the biases, keep the exported heads, and measure them.

    With the temperature T, a bias grows by T log(stated / assumed): then softmax(logits / T) assumes the stated prior,
    whatever T is.
    """
    recipe = run.recipe
    evidence = evidence_of(mixture, run.logits_of)
    heads, rows = [], []
    figures: dict[str, dict[str, Any]] = {corpus: {} for corpus in evidence}
    bias = state["head.bias"]
    by_name = {task.name: task for task in mixture.tasks}
    for task in (by_name[name] for name in recipe.export_heads or by_name):
        found = {corpus: parts[task.name] for corpus, parts in evidence.items() if task.name in parts}
        stated = stated_prior(mixture, task, recipe)
        temperature = fit_shared_temperature(list(found.values()), stated)
        move = np.log(stated / mixture.assumed(task)) * temperature
        bias[task.outputs] += torch.from_numpy(move).float()
        rows.append(torch.arange(task.outputs.start, task.outputs.stop))
        accuracies = []
        for corpus, one in found.items():
            figures[corpus][task.name] = _figures(one, stated, temperature, task)
            accuracies.append(figures[corpus][task.name]["accuracy"])
        heads.append({
            "name": task.name, "labels": task.labels, "temperature": round(temperature, 4),
            "prior": _rounded(stated), "trained_prior": _rounded(mixture.trained(task)),
            "validation_accuracy": round(float(np.mean(accuracies)), 4) if accuracies else None,
        })  # fmt: skip
    kept = torch.cat(rows)
    state["head.weight"], state["head.bias"] = state["head.weight"][kept].contiguous(), bias[kept].contiguous()
    return heads, figures


def _figures(evidence: Evidence, stated: np.ndarray, temperature: float, task: Task) -> dict[str, Any]:
    """Score a head on one corpus: under the stated prior, and under the corpus's own class frequencies."""
    one, own = (figures_of(evidence, prior, temperature) for prior in (stated, evidence.own))
    return {
        "n": one.n, "accuracy": round(one.accuracy, 4), "mean_recall": round(one.recall, 4), "ece": round(one.ece, 4),
        "own_prior": _rounded(evidence.own), "own_prior_accuracy": round(own.accuracy, 4),
        "own_prior_mean_recall": round(own.recall, 4), "own_prior_ece": round(own.ece, 4),
    }  # fmt: skip


def refit_head(run: "Trainer") -> None:
    """Refit the last layer by logistic regression on the images and (where training flips) their mirror images.

    Augmentation, dropout and label smoothing blur its decision, and the votes shift it to neutral. On PublicTest,
    refitting gained 3 points for our first model.

    Parameters
    ----------
    run : Trainer
        Its averaged network is changed.
    """
    head, views = run.averaged.head, (False, True) if "flip" in run.recipe.augment_kinds else (False,)
    features = torch.cat([run.predict(run.faces, run.averaged.features, mirrored=mirror) for mirror in views])
    target = run.targets(run.recipe.head_vote_weight).repeat(len(views), 1).to(run.device)
    tasks = [Task(task.name, task.labels, task.first, weight=task.weight) for task in run.tasks]
    solver = torch.optim.LBFGS(head.parameters(), max_iter=80, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = loss_of(head(features), target, tasks)
        value.backward()
        return value

    solver.step(loss)
