"""The learning rate over a run."""

import math

from fervid.lab.training.recipe import Recipe

__all__ = ["rate_at"]


def rate_at(recipe: Recipe, step: int, steps_per_epoch: int, *, drops: int = 0, done: float = 0.0) -> float:
    """Compute the learning rate of a step: linear warm-up, then a cosine to zero or a step down at each plateau.

    Parameters
    ----------
    recipe : Recipe
    step : int
        Steps before this one.
    steps_per_epoch : int
    drops : int
        Plateaus so far.
    done : float
        Part of the run that has passed, 0 to 1; used where the recipe gives `minutes`.

    Returns
    -------
    float
    """
    warm, total = recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch
    rate = recipe.peak_rate
    if recipe.minutes is not None and recipe.schedule == "cosine":
        return rate * min(1.0, (step + 1) / max(warm, 1)) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if step < warm:
        rate *= (step + 1) / warm
    elif recipe.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
    else:
        rate *= recipe.plateau_factor**drops
    return rate
