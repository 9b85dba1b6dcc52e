"""Face embeddings by dlib's face recognition network (King 2017); the weights ship in a package."""

import numpy as np
import torch

from fervid.faces.crop import FaceAlignment
from fervid.files import file_sha256
from fervid.networks.dlib_resnet import MEAN, SIDE_PX, STD, DlibResNet, find_dlib_weights, read_dlib_weights
from fervid.runtime.device import deterministic_fp32
from fervid.runtime.threads import one_thread
from fervid.tracks.persons import embed_in_batches

__all__ = ["DlibFaces"]


class DlibFaces:
    """An Embedder with dlib's network, 128 dimensions.

    Faces are aligned as in dlib's own chips (150 px, padding 0.25): the positions of MTCNN's landmarks and box in them
    are medians over 50 faces. dlib takes two images for one person up to a Euclidean distance of 0.6 before
    normalisation, about 0.11 in cosine. The threshold here is lower because it applies to means over the grey crops of
    a track; it was chosen on the few clips of `python -m tests.benchmarks.persons`.

    Parameters
    ----------
    device : str
        "cpu" or "cuda:N".

    Raises
    ------
    MissingDependency
        If the package with the weights is not installed.
    WeightsError
        If the weights cannot be read.
    """

    name = "dlib_face_recognition_resnet_model_v1"
    recognition_px = SIDE_PX
    threshold = 0.07
    alignment = FaceAlignment(
        landmarks=((0.313, 0.309), (0.687, 0.309), (0.5, 0.517), (0.341, 0.702), (0.659, 0.702)),
        box=0.94,
        crop_scale=1.0,
    )

    def __init__(self, device: str) -> None:
        path = find_dlib_weights()
        self.sha256 = file_sha256(path)
        self.device = device
        state = read_dlib_weights(path)
        self._last = state.pop("embedding").T.to(device)
        self._net = DlibResNet().eval()
        self._net.load_state_dict(state, strict=False)  # lacks the norms' num_batches_tracked
        self._net.to(device)

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        """Align by the landmarks, like dlib's chips; see `Embedder.places`."""
        return self.alignment.places(box_px, landmarks_px)

    @one_thread
    @deterministic_fp32()
    @torch.inference_mode()
    def embed(self, recognition_crop: np.ndarray) -> np.ndarray:
        """Embed grey crops (m, 150, 150) uint8 as (m, 128) float32 of length 1."""

        def forward(crops: np.ndarray) -> np.ndarray:
            x = (torch.from_numpy(crops).to(self.device).float() / 255 - MEAN) / STD
            out = torch.nn.functional.normalize(self._net(x[:, None]) @ self._last, dim=1)
            return out.cpu().numpy()

        return embed_in_batches(forward, recognition_crop, self._last.shape[1])
