"""Face detection with MTCNN on a CPU: the weights and results of facenet-pytorch, three times as fast.

    images -> propose (P-Net) -> refine (R-Net) -> finish (O-Net) -> Detections

Three small networks, each more certain than the one before (Zhang et al. 2016, arXiv 1604.02878). The arithmetic is
that of `facenet_pytorch/models/utils/detect_face.py` 2.5.3 (see mtcnn_boxes.py). It is computed differently:

- Every pyramid level and every crop is read from one table of cumulative sums (`IntegralImage`), at a cost that does
  not grow with the area covered, and no loop runs over boxes.
- The scaling of the input is part of the first convolution, and a two-way softmax is one logit.
- R-Net and O-Net process the candidates of all images together, in chunks of one fixed shape, and P-Net processes one
  image at a time, in strips that follow from its size. The last bits of a convolution depend on the shape of its input,
  so this makes a result independent of the other images in the batch.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fervid.errors import ConfigError
from fervid.faces import mtcnn_boxes
from fervid.faces.detector import NO_FACES, Detections, check_images
from fervid.faces.integral_image import AreaResizer, IntegralImage, bins
from fervid.faces.mtcnn_boxes import CELL, FACTOR, STRIDE, THRESHOLDS, cell_boxes, on_arrays, pyramid_scales
from fervid.faces.mtcnn_networks import Weights, load_network, onet, pnet, rnet
from fervid.faces.nms import nms
from fervid.runtime.allocator import tune_malloc
from fervid.runtime.device import resolve_device
from fervid.runtime.profiling import stage
from fervid.runtime.threads import one_thread

__all__ = ["MTCNN"]

#: Pixels of the images that pass through the stages together: 67 MB of IntegralImage.
_PASS_PIXELS = 2**23
#: Pixels of a pyramid level to resize together, and the most that P-Net processes at once: 20 MB of activations.
_TILE_PIXELS = 2**18
#: Chunks of crops to cut out at once.
_CHUNKS = 8
#: Input of R-Net and O-Net: side of a crop, crops per chunk.
_REFINE, _FINISH = (24, 32), (48, 4)
#: Part of a face's box that O-Net sees to confirm it: boxes then keep their size.
_CONFIRM_SCALE = 0.95
#: Search near a box: side of the window in sides of the expected face and in pixels, and the scales of its pyramid, for
#: faces of half to twice the expected size.
_WINDOW, _WINDOW_PX = 3.0, 96
_NEAR_SCALES = [CELL / (_WINDOW_PX / _WINDOW * size) for size in (0.709, 1, 1.41)]

_move_edges, _to_squares = on_arrays(mtcnn_boxes.move_edges), on_arrays(mtcnn_boxes.to_squares)
_pixel_boxes, _place_landmarks = on_arrays(mtcnn_boxes.pixel_boxes), on_arrays(mtcnn_boxes.place_landmarks)


class MTCNN:
    """A FaceDetector with facenet-pytorch's three networks.

    Parameters
    ----------
    thresholds : sequence of float
        Scores to pass P-, R- and O-Net.
    factor : float
        Scale from one level of the image pyramid to the next.
    device : str
        A torch device. `cuda.mtcnn.DeviceMTCNN` is faster on a GPU.

    Raises
    ------
    ConfigError
        If a value is out of range.
    DeviceError
        If the device is not available.
    MissingDependency
        If facenet-pytorch is not installed.
    """

    name = "mtcnn"

    def __init__(
        self, *, thresholds: Sequence[float] = THRESHOLDS, factor: float = FACTOR, device: str = "cpu"
    ) -> None:
        if not 0 < factor < 1 or len(thresholds) != 3 or not all(0 < t < 1 for t in thresholds):
            raise ConfigError(
                f"MTCNN: expected a factor and three thresholds between 0 and 1, found {factor=}, {thresholds=}"
            )
        tune_malloc()
        self._thresholds, self._factor, self._device = tuple(thresholds), factor, torch.device(resolve_device(device))
        self._pnet, self._rnet, self._onet = (load_network(name, self._device) for name in ("pnet", "rnet", "onet"))

    @one_thread
    def detect(self, images: np.ndarray, min_face_px: float = 20) -> Detections:
        """Find all faces.

        Parameters
        ----------
        images : ndarray, shape (n, h, w, 3), uint8
            RGB; n may be 0.
        min_face_px : float
            Approximate size of the smallest face to find.

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
        n, height, width, _ = images.shape
        scales = list(pyramid_scales(height, width, min_face_px, self._factor))
        if n == 0 or not scales:
            return NO_FACES
        found = []
        step = max(1, _PASS_PIXELS // (height * width))
        with torch.inference_mode():
            for first in range(0, n, step):
                with stage("detect: propose"):
                    table = IntegralImage(images[first : first + step], self._device)
                    faces = self._propose(table, scales)
                with stage("detect: filter"):
                    faces = self._refine(table, faces)
                with stage("detect: locate"):
                    frame, *rest = self._finish(table, faces)
                found.append((frame + first, *rest))
        return Detections(*map(np.concatenate, zip(*found)))

    @one_thread
    def confirm(
        self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Verify with O-Net that faces are where they are expected.

        Parameters
        ----------
        images : sequence of ndarray, shape (h, w, 3), uint8
            All of one size.
        frame : ndarray, shape (m,), int64
        box_px : ndarray, shape (m, 4), float32

        Returns
        -------
        Detections
            One per expected box, moved to where the face is.
        ndarray, shape (m,), bool
            Whether there is a face.
        """
        with torch.inference_mode(), stage("detect: verify"):
            expected = _Candidates(
                np.arange(len(frame)), _to_squares(_rescale(box_px, _CONFIRM_SCALE)), np.zeros(len(frame), np.float32)
            )
            resizer = AreaResizer([images[i] for i in frame], self._device)
            passed, out = _run(onet, self._onet, resizer, expected, _FINISH, 0.0)
        box, score, landmarks = expected.box.copy(), expected.score.copy(), np.zeros((len(frame), 5, 2), np.float32)
        box[passed.frame], score[passed.frame] = _move_edges(passed.box, out[:, :4]), passed.score
        landmarks[passed.frame] = _place_landmarks(passed.box, out[:, 4:])
        return Detections(frame, box, score, landmarks), score > self._thresholds[2]

    @one_thread
    def detect_near(self, images: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray) -> Detections:
        """Search only around the boxes in which faces are expected.

        Parameters
        ----------
        images : sequence of ndarray, shape (h, w, 3), uint8
            All of one size.
        frame : ndarray, shape (m,), int64
            Index of the image of each box.
        box_px : ndarray, shape (m, 4), float32

        Returns
        -------
        Detections
        """
        with torch.inference_mode(), stage("detect: nearby"):
            window, corner, scale = _windows(images, frame, box_px)
            table = IntegralImage(window, self._device)
            faces = _keep_best(self._propose(table, _NEAR_SCALES), 8)
            faces = _keep_best(self._refine(table, faces), 2)
            box = faces.box * scale[faces.frame, None] + np.tile(corner[faces.frame], 2)
            faces = _Candidates(frame[faces.frame], box, faces.score)
            return Detections(*self._finish(AreaResizer(images, self._device), faces))

    def _propose(self, table: IntegralImage, scales: list[float]) -> "_Candidates":
        """Run P-Net on the image pyramid: find every square that may hold a face."""
        frame, level, box, offset, score = map(np.concatenate, zip(*self._scan(table, scales)))
        kept = nms(box, score, level * table.n + frame, 0.5)
        kept = kept[nms(box[kept], score[kept], frame[kept], 0.7)]
        box = _move_edges(box[kept], offset[kept], inclusive=False)
        return _Candidates(frame[kept], _to_squares(box), score[kept])

    def _scan(self, table: IntegralImage, scales: list[float]) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield, tile by tile, the cells that may hold a face: frame, level, box (m, 4), offset (m, 4), score."""
        for level, scale in enumerate(scales):
            size = int(table.height * scale + 1), int(table.width * scale + 1)
            rows, columns = bins(0, table.height, size[0]), bins(0, table.width, size[1])
            for frame, first, stop in _tiles(table.n, *size):
                part = slice(STRIDE * first, STRIDE * (stop - 1) + CELL)
                tile = table.mean(frame, rows[:, :, part], columns)
                logits, features = zip(*(pnet(one, self._pnet) for one in tile.split(1)))
                logit = torch.cat(logits)
                hot = logit >= _logit(self._thresholds[0])
                feature = torch.cat([one[0][cells] for one, cells in zip(features, hot)])
                offset = (feature[:, None] * self._pnet["head.weight"][1:]).sum(2) + self._pnet["head.bias"][1:]
                index, y, x = (axis.cpu() for axis in torch.nonzero(hot, as_tuple=True))
                box = cell_boxes(x, y + first, scale).numpy()
                yield frame[index.numpy()], np.full(len(x), level), box, offset.cpu().numpy(), _score(logit[hot])

    def _refine(self, table: IntegralImage, faces: "_Candidates") -> "_Candidates":
        """Run R-Net: drop most candidates, and give the others a better box, extended to a square."""
        faces, out = _run(rnet, self._rnet, table, faces, _REFINE, self._thresholds[1])
        kept = nms(faces.box, faces.score, faces.frame, 0.7)
        box = _move_edges(faces.box[kept], out[kept, :4])
        return _Candidates(faces.frame[kept], _to_squares(box), faces.score[kept])

    def _finish(self, table: IntegralImage | AreaResizer, faces: "_Candidates") -> tuple[np.ndarray, ...]:
        """Run O-Net, which decides and locates the landmarks; return the columns of Detections."""
        faces, out = _run(onet, self._onet, table, faces, _FINISH, self._thresholds[2])
        box, landmarks = _move_edges(faces.box, out[:, :4]), _place_landmarks(faces.box, out[:, 4:])
        kept = nms(box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], box[kept], faces.score[kept], landmarks[kept]


@dataclass(frozen=True)
class _Candidates:
    """m squares between two stages: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray


def _run(
    net: Callable[[Tensor, Weights], Tensor],
    weights: Weights,
    table: IntegralImage | AreaResizer,
    faces: _Candidates,
    shape: tuple[int, int],
    threshold: float,
) -> tuple[_Candidates, np.ndarray]:
    """Run a network on the candidates -> those that score above the threshold, and its other outputs (m, ...) for them.

    Candidates that lie outside their image are dropped.
    """
    side, chunk = shape
    box = _pixel_boxes(faces.box, width=table.width, height=table.height)
    inside = np.flatnonzero((box[:, :2] < box[:, 2:]).all(1))
    outs = [torch.zeros((0, len(weights["head.bias"])), device=weights["head.bias"].device)]
    for first in range(0, len(inside), _CHUNKS * chunk):
        some = inside[first : first + _CHUNKS * chunk]
        some = np.append(some, some[-1:].repeat(-len(some) % chunk))  # the last chunk repeats its last crop
        for crops in table.crop(faces.frame[some], box[some], (side, side)).split(chunk):
            outs.append(net(crops.to_mkldnn() if weights["conv1.weight"].is_mkldnn else crops, weights))
    out = torch.cat(outs)[: len(inside)]
    score = _score(out[:, 0])
    passed = score > threshold
    kept = inside[passed]
    return _Candidates(faces.frame[kept], faces.box[kept], score[passed]), out[:, 1:].cpu().numpy()[passed]


def _keep_best(faces: _Candidates, most: int) -> _Candidates:
    """Keep the candidates with the highest scores, at most so many per image."""
    order = np.lexsort((-faces.score, faces.frame))
    frame = faces.frame[order]
    kept = order[np.arange(len(order)) - np.searchsorted(frame, frame) < most]
    return _Candidates(faces.frame[kept], faces.box[kept], faces.score[kept])


def _windows(
    images: Sequence[np.ndarray], frame: np.ndarray, box: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut windows out around boxes (m, 4) -> windows (m, s, s, 3), corners (m, 2), sizes of their pixels (m,).

    What lies outside an image is black.
    """
    square = np.rint(_to_squares(_rescale(box, _WINDOW)))
    window = np.zeros((len(box), _WINDOW_PX, _WINDOW_PX, 3), np.uint8)
    for one, i, place in zip(window, frame, square.astype(int).tolist()):
        part = Image.fromarray(images[i]).crop(place)
        one[:] = np.asarray(part.resize((_WINDOW_PX, _WINDOW_PX), Image.Resampling.BOX))
    return window, square[:, :2], (square[:, 2] - square[:, 0]) / np.float32(_WINDOW_PX)


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _score(logit: Tensor) -> np.ndarray:
    """Compute the sigmoid in NumPy: with torch, the last bits depend on where in its array a number is."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logit.cpu().numpy()))


def _tiles(n: int, rows: int, columns: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Divide a pyramid level of n images into tiles -> indices of the images, first and last + 1 row of cells."""
    cells = (rows - 1) // STRIDE - 4
    strip = min(cells, max(8, _TILE_PIXELS // columns // STRIDE))
    step = max(1, _TILE_PIXELS // (rows * columns))
    for frame in range(0, n, step):
        for first in range(0, cells, strip):
            yield np.arange(frame, min(frame + step, n)), first, min(first + strip, cells)


def _rescale(box: np.ndarray, factor: float) -> np.ndarray:
    """Scale each box (m, 4) about its centre."""
    centre, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) * np.float32(factor / 2)
    return np.concatenate((centre - half, centre + half), 1)
