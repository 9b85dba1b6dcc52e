"""Face embeddings by facenet-pytorch's InceptionResnetV1, trained on VGGFace2 (Cao et al. 2018)."""

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
from fervid.tracks.persons import embed_in_batches

__all__ = ["FaceNet", "find_vggface2"]


def find_vggface2(name: str) -> Path:
    """Find the weights: the file given, or those of "vggface2", which are downloaded once into torch's cache.

    Parameters
    ----------
    name : str
        "vggface2", or the path of a file.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        If they cannot be found; the message says where to get them and where to put them.
    """
    if name != "vggface2":
        if not Path(name).is_file():
            raise WeightsError(
                f"--persons {name}: no such weights; expected dlib, vggface2, none, or a file downloaded from "
                f"{VGGFACE2}"
            )
        return Path(name)
    try:
        return fetch(VGGFACE2)
    except OSError as e:
        raise WeightsError(
            f"vggface2: cannot download the weights that --persons needs ({getattr(e, 'reason', None) or e}); "
            f"download {VGGFACE2} elsewhere and pass the file with --persons FILE, or put it at "
            f"{cache_path(VGGFACE2)}; or use --persons dlib"
        ) from None


class FaceNet:
    """An Embedder with InceptionResnetV1, 512 dimensions.

    The network was trained on colour images; here all three channels hold the grey crop. The threshold, a distance of
    1.0 on the unit sphere, is of the size published for the verification of colour crops. It has not been measured for
    grey crops or on video; `python -m tests.benchmarks.persons` does so where the weights are available.

    Parameters
    ----------
    weights : str
        As for `find_vggface2`.
    device : str
        "cpu" or "cuda:N".

    Raises
    ------
    MissingDependency
        If facenet-pytorch is not installed.
    WeightsError
        If the weights cannot be found or are of another network.
    """

    name = "InceptionResnetV1, VGGFace2"
    recognition_px = 160
    threshold = 0.5

    def __init__(self, weights: str, device: str) -> None:
        try:
            from facenet_pytorch import InceptionResnetV1
        except ImportError:
            raise MissingDependency(
                f"--persons {weights} needs facenet-pytorch: pip install facenet-pytorch==2.5.3"
            ) from None
        path = find_vggface2(weights)
        self.sha256 = file_sha256(path)
        self.device = device
        self._net = InceptionResnetV1(pretrained=None).eval()
        state = _read(path)
        missing = [k for k, v in self._net.state_dict().items() if k not in state or state[k].shape != v.shape]
        missing = [k for k in missing if not k.startswith("logits.") and not k.endswith("num_batches_tracked")]
        if missing:
            raise WeightsError(
                f"{path}: not the weights of an InceptionResnetV1 ({missing[0]} is missing or has another shape); "
                f"download {VGGFACE2}"
            )
        self._net.load_state_dict({k: v for k, v in state.items() if not k.startswith("logits.")}, strict=False)
        self._net.to(device)

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Enlarge the boxes a little, as in the network's training images; see `Embedder.places`."""
        return square_boxes(box_px)

    @one_thread
    @deterministic_fp32()
    @torch.inference_mode()
    def embed(self, recognition_crop: np.ndarray) -> np.ndarray:
        """Embed grey crops (m, 160, 160) uint8 as (m, 512) float32 of length 1."""

        def forward(crops: np.ndarray) -> np.ndarray:
            x = (torch.from_numpy(crops).to(self.device).float() - 127.5) / 128
            return self._net(x[:, None].expand(-1, 3, -1, -1)).float().cpu().numpy()

        return embed_in_batches(forward, recognition_crop, 512)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict; torch unpickles a .pt with a reader that builds tensors only and runs no code."""
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        raise WeightsError(f"{path}: cannot be read as weights; download {VGGFACE2}") from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors; download {VGGFACE2}")
    return found
