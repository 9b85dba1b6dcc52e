"""Embeddings of faces by facenet-pytorch's InceptionResnetV1, trained on VGGFace2 (Cao et al. 2018)."""

import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fervid.errors import MissingDependency, WeightsError
from fervid.faces.crop import square_boxes
from fervid.files import file_sha256
from fervid.networks.downloads import VGGFACE2, cache_path, fetch
from fervid.runtime.device import deterministic_fp32
from fervid.runtime.threads import one_thread

__all__ = ["FaceNet", "find_vggface2"]

#: Faces at once, always: the last bits of a result depend on it.
_BATCH = 8


def find_vggface2(asked: str) -> Path:
    """Find the weights: a file, or "vggface2", which is fetched into torch's cache once.

    WeightsError says where to get them and where to put them.
    """
    if asked != "vggface2":
        if not Path(asked).is_file():
            raise WeightsError(
                f"--persons {asked}: no such weights; expected dlib, vggface2, none, or a file fetched from {VGGFACE2}"
            )
        return Path(asked)
    try:
        return fetch(VGGFACE2)
    except OSError as e:
        raise WeightsError(
            f"vggface2: the weights that --persons needs cannot be downloaded ({getattr(e, 'reason', None) or e}); "
            f"fetch {VGGFACE2} elsewhere and name the file with --persons FILE, or put it at {cache_path(VGGFACE2)}; "
            "or take --persons dlib"
        ) from None


class FaceNet:
    """An Embedder (see persons.py). Batches have one fixed shape: results do not depend on it.

    The network learned colour pictures; here it gets the grey crop three times. The threshold, a distance of 1.0 on the
    unit sphere, is of the size that verification of colour crops is published with; it was measured neither for grey
    crops nor on video (`python -m tests.benchmarks.persons` does, where the weights are).
    """

    name = "InceptionResnetV1, VGGFace2"
    portrait_px = 160
    threshold = 0.5

    def __init__(self, weights: str, device: str) -> None:
        try:
            from facenet_pytorch import InceptionResnetV1
        except ImportError:
            raise MissingDependency("--persons needs facenet-pytorch: pip install facenet-pytorch==2.5.3") from None
        path = find_vggface2(weights)
        self.sha256 = file_sha256(path)
        self.device = device
        self._net = InceptionResnetV1(pretrained=None).eval()
        state = _read(path)
        lacking = [k for k, v in self._net.state_dict().items() if k not in state or state[k].shape != v.shape]
        lacking = [k for k in lacking if not k.startswith("logits.") and not k.endswith("num_batches_tracked")]
        if lacking:
            raise WeightsError(
                f"{path}: not the weights of an InceptionResnetV1 ({lacking[0]} is missing or odd); fetch {VGGFACE2}"
            )
        self._net.load_state_dict({k: v for k, v in state.items() if not k.startswith("logits.")}, strict=False)
        self._net.to(device)

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Boxes as they are, and a little more, as the network learned them."""
        return square_boxes(box_px)

    @one_thread
    @deterministic_fp32()
    @torch.inference_mode()
    def embed(self, portrait: np.ndarray) -> np.ndarray:
        """Grey crops (m, 160, 160) uint8 -> (m, 512) float32 of length 1."""
        found = np.zeros((len(portrait), 512), np.float32)
        for i in range(0, len(portrait), _BATCH):
            part = portrait[i : i + _BATCH]
            padded = np.zeros((_BATCH, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            x = (torch.from_numpy(padded).to(self.device).float() - 127.5) / 128
            out = self._net(x[:, None].expand(-1, 3, -1, -1))
            found[i : i + _BATCH] = out[: len(part)].float().cpu().numpy()
        return found


def _read(path: Path) -> dict[str, torch.Tensor]:
    """A .pt is unpickled by torch's own reader, which makes tensors only and runs no code."""
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise WeightsError(f"{path}: not a readable file of weights; fetch {VGGFACE2}") from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected names and tensors, found something else; fetch {VGGFACE2}")
    return found
