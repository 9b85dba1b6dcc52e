"""Embeddings of faces by dlib's face recognition network (King 2017), whose weights pip brings."""

import numpy as np
import torch

from fervid.faces.crop import FaceAlignment
from fervid.files import file_sha256
from fervid.networks.dlib_resnet import MEAN, SIDE_PX, STD, DlibResNet, find_dlib_weights, read_dlib_weights
from fervid.runtime.device import deterministic_fp32
from fervid.runtime.threads import one_thread

__all__ = ["DlibFaces"]

#: Faces at once, always: the last bits of a result depend on it.
_BATCH = 8


class DlibFaces:
    """An Embedder (see persons.py). Batches have one fixed shape: results do not depend on it.

    The framing is that of dlib's own chips (150 px, padding 0.25): where MTCNN's landmarks and box lie in them, medians
    of 50 faces. dlib calls two pictures one person up to a Euclidean distance of 0.6 before normalisation, about 0.11
    in cosine; the threshold here is for means over a track's crops, of grey pictures and by other landmarks, and was
    chosen on the few clips of `python -m tests.benchmarks.persons`.
    """

    name = "dlib_face_recognition_resnet_model_v1"
    portrait_px = SIDE_PX
    threshold = 0.07
    framing = FaceAlignment(
        landmarks=((0.313, 0.309), (0.687, 0.309), (0.5, 0.517), (0.341, 0.702), (0.659, 0.702)), box=0.94, zoom=1.0
    )

    def __init__(self, device: str) -> None:
        path = find_dlib_weights()
        self.sha256 = file_sha256(path)
        self.device = device
        state = read_dlib_weights(path)
        self._last = state.pop("embedding").T.to(device)
        self._net = DlibResNet().eval()
        self._net.load_state_dict(state, strict=False)  # but for how often each norm was trained
        self._net.to(device)

    def squares(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Upright by the landmarks, as dlib's chips are."""
        return self.framing.squares(box_px, landmarks_px)

    @one_thread
    @deterministic_fp32()
    @torch.inference_mode()
    def embed(self, portrait: np.ndarray) -> np.ndarray:
        """Grey crops (m, 150, 150) uint8 -> (m, 128) float32 of length 1."""
        found = np.zeros((len(portrait), self._last.shape[1]), np.float32)
        for i in range(0, len(portrait), _BATCH):
            part = portrait[i : i + _BATCH]
            padded = np.zeros((_BATCH, *part.shape[1:]), np.uint8)
            padded[: len(part)] = part
            x = (torch.from_numpy(padded).to(self.device).float() / 255 - MEAN) / STD
            out = torch.nn.functional.normalize(self._net(x[:, None]) @ self._last, dim=1)
            found[i : i + _BATCH] = out[: len(part)].cpu().numpy()
        return found
