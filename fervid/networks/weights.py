"""Where weights lie, and what tells one model from another. Imports no torch: a batch asks this before it starts."""

import hashlib
import shlex
from pathlib import Path

from fervid.errors import WeightsError
from fervid.files import file_sha256

__all__ = ["FACTS", "bundled", "find_weights", "model_fingerprint"]

FACTS = ("arch", "heads", "input_px", "mean", "std", "framing")
_CONVERT = "import torch; from safetensors.torch import save_file; save_file(torch.load({!r}, weights_only=True), {!r})"


def bundled() -> dict[str, Path]:
    """The models that ship with fervid, by name."""
    folder = Path(__file__).parent.parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_weights(asked: str) -> Path:
    """Find a bundled model by name, or a .safetensors file; WeightsError says what to do instead."""
    known = bundled()
    if asked in known:
        return known[asked]
    path = Path(asked)
    if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
        raise WeightsError(_refusal(path))
    if path.suffix != ".safetensors" or not path.is_file():
        raise WeightsError(f"{asked}: no such weights; expected {', '.join(known)} or a .safetensors file")
    return path


def _refusal(pickled: Path) -> str:
    """Say why a pickle is not loaded, and the two files that are needed instead of it."""
    target = pickled.with_suffix(".safetensors")
    program = shlex.quote(_CONVERT.format(str(pickled), str(target)))
    return (
        f"{pickled}: pickled weights can run code and are not loaded; convert a state dict with: python -c {program} "
        f"and write its facts ({', '.join(FACTS)}) to {target.with_suffix('.json')}: `fervid train` writes both files"
    )


def model_fingerprint(asked: str) -> str:
    """The sha256 of a model: its weights and the facts beside them, which hold its temperature and its classes."""
    path = find_weights(asked)
    digest = hashlib.sha256()
    for file in (path, path.with_suffix(".json")):
        try:
            digest.update(bytes.fromhex(file_sha256(file)))
        except OSError as e:
            raise WeightsError(f"{file}: cannot be read ({e.strerror}); `fervid train` writes both files") from None
    return digest.hexdigest()
