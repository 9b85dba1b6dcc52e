"""What a training run needs beside faces, looked for before minutes are spent on reading them."""

from collections.abc import Iterable

from fervid.backends.device import resolve_device
from fervid.backends.weight_files import identify
from fervid.errors import DeviceError
from fervid.lab.pretrained import find_backbone
from fervid.lab.recipe import Recipe

__all__ = ["check_needs"]


def check_needs(recipes: Iterable[Recipe], device: str) -> None:
    """Look for the device, for the weights to begin with and for the teachers; WeightsError or DeviceError if absent.

    Weights that a recipe begins with and that others publish are fetched here.
    """
    device = resolve_device(device)
    for recipe in recipes:
        if recipe.workers > 1 and device != "cpu":
            raise DeviceError(f"workers = {recipe.workers} share the cores of a CPU: leave it out, or use --device cpu")
        find_backbone(recipe.arch, recipe.init)
        for teacher in recipe.teacher:
            identify(teacher)
