"""Find faces with MTCNN in many pictures at once: facenet-pytorch's weights and results, three times as fast.

    pictures -> propose (P-Net) -> refine (R-Net) -> finish (O-Net) -> Detections

Three small networks, each surer than the one before (Zhang et al. 2016, arXiv 1604.02878). The arithmetic is that of
`facenet_pytorch/models/utils/detect_face.py` 2.5.3, odd as it is in places: some sides count their last pixel, others
do not. Only the way there differs:

- every pyramid level and every crop is read from one table of cumulative sums (`IntegralImage`), at a cost that does
  not grow with the area covered, and no loop runs over boxes;
- the scaling of the input lives in the first convolution, and a two-way softmax in one logit;
- R-Net and O-Net see the candidates of all pictures together, in chunks of one fixed shape, and P-Net sees one picture
  at a time, in strips that follow from its size. The last bits of a convolution depend on the shape of its input, so
  this makes a result independent of the other pictures in the batch.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fervid.errors import ConfigError
from fervid.faces.detector import NO_FACES, Detections
from fervid.faces.integral_image import FewAreas, IntegralImage, bins
from fervid.faces.mtcnn_networks import (
    CELL,
    STRIDE,
    Weights,
    cell_box,
    landmarks,
    load_net,
    moved,
    onet,
    pnet,
    rnet,
    scales_of,
    squared,
)
from fervid.faces.nms import nms
from fervid.runtime.allocator import tune_malloc
from fervid.runtime.device import resolve_device
from fervid.runtime.profiling import stage
from fervid.runtime.threads import one_thread

__all__ = ["MTCNN"]

_PASS_PIXELS = 2**23  # of the pictures that go through the stages together: 67 MB of IntegralImage
_TILE_PIXELS = 2**18  # of a pyramid level that are resized together, and that P-Net sees at the most: 20 MB
_CUT = 8  # chunks of crops that are cut out at once
_REFINE, _FINISH = (24, 32), (48, 4)  # R-Net's and O-Net's input: side of a crop, crops in a chunk
_EXPECTED = 0.95  # of a face's box is what O-Net is shown to confirm it: boxes then keep their size
#: How faces are looked for nearby: in windows of so many sides of the face expected, so many pixels across; and at
#: which scales, for faces of half to twice its size.
_WINDOW, _WINDOW_PX = 3.0, 96
_NEAR_SCALES = [CELL / (_WINDOW_PX / _WINDOW * size) for size in (0.709, 1, 1.41)]


class MTCNN:
    """The FaceDetector over facenet-pytorch's three networks."""

    name = "mtcnn"

    def __init__(
        self, *, thresholds: Sequence[float] = (0.6, 0.7, 0.7), factor: float = 0.709, device: str = "cpu"
    ) -> None:
        """Load the networks. `thresholds` are the scores to pass P-, R- and O-Net, `factor` the step of the pyramid.

        ConfigError for values out of range, DeviceError for a device that is absent, MissingDependency without weights.
        """
        if not 0 < factor < 1 or len(thresholds) != 3 or not all(0 < t < 1 for t in thresholds):
            raise ConfigError(
                f"MTCNN: expected a factor and three thresholds between 0 and 1, found {factor=}, {thresholds=}"
            )
        tune_malloc()
        self._thresholds, self._factor, self._device = tuple(thresholds), factor, torch.device(resolve_device(device))
        self._pnet, self._rnet, self._onet = (load_net(name, self._device) for name in ("pnet", "rnet", "onet"))

    @one_thread
    def detect(self, picture: np.ndarray, min_face_px: float = 20) -> Detections:
        """Find the faces of at least about min_face_px in picture (n, h, w, 3) uint8 RGB.

        Within a picture they come by falling score; boxes may reach over the border.
        """
        if picture.ndim != 4 or picture.shape[3] != 3 or picture.dtype != np.uint8 or not min_face_px > 0:
            raise ValueError(
                "expected picture uint8 (n, h, w, 3) and min_face_px > 0, "
                f"found {picture.dtype} {picture.shape} and {min_face_px}"
            )
        n, height, width, _ = picture.shape
        scales = list(scales_of(height, width, min_face_px, self._factor))
        if n == 0 or not scales:
            return NO_FACES
        found = []
        step = max(1, _PASS_PIXELS // (height * width))
        with torch.inference_mode():
            for first in range(0, n, step):
                with stage("detect: P-Net"):
                    table = IntegralImage(picture[first : first + step], self._device)
                    faces = self._propose(table, scales)
                with stage("detect: R-Net"):
                    faces = self._refine(table, faces)
                with stage("detect: O-Net"):
                    frame, *rest = self._finish(table, faces)
                found.append((frame + first, *rest))
        return Detections(*map(np.concatenate, zip(*found)))

    @one_thread
    def confirm(
        self, pictures: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Show O-Net the boxes (m, 4) in pictures[frame], all (h, w, 3) -> detections (m), and which are faces (m,)."""
        with torch.inference_mode(), stage("detect: confirm"):
            expected = _Candidates(
                np.arange(len(frame)), _squared(_scaled(box_px, _EXPECTED)), np.zeros(len(frame), np.float32)
            )
            areas = FewAreas([pictures[i] for i in frame], self._device)
            seen, out = _judge(onet, self._onet, areas, expected, _FINISH, 0.0)
        box, score, landmarks = expected.box.copy(), expected.score.copy(), np.zeros((len(frame), 5, 2), np.float32)
        box[seen.frame], score[seen.frame] = _moved(seen.box, out[:, :4]), seen.score
        landmarks[seen.frame] = _landmarks(seen.box, out[:, 4:])
        return Detections(frame, box, score, landmarks), score > self._thresholds[2]

    @one_thread
    def near(self, pictures: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray) -> Detections:
        """Search only around where faces are expected: boxes (m, 4) in pictures[frame] -> the faces found there."""
        with torch.inference_mode(), stage("detect: near"):
            window, corner, scale = _windows(pictures, frame, box_px)
            table = IntegralImage(window, self._device)
            faces = _best(self._propose(table, _NEAR_SCALES), 8)
            faces = _best(self._refine(table, faces), 2)
            box = faces.box * scale[faces.frame, None] + np.tile(corner[faces.frame], 2)
            faces = _Candidates(frame[faces.frame], box, faces.score)
            return Detections(*self._finish(FewAreas(pictures, self._device), faces))

    def _propose(self, table: IntegralImage, scales: list[float]) -> "_Candidates":
        """P-Net over the pyramid: every square that may hold a face."""
        frame, level, box, offset, score = map(np.concatenate, zip(*self._scan(table, scales)))
        kept = nms(box, score, level * table.n + frame, 0.5)
        kept = kept[nms(box[kept], score[kept], frame[kept], 0.7)]
        moved = _moved(box[kept], offset[kept], inclusive=False)
        return _Candidates(frame[kept], _squared(moved), score[kept])

    def _scan(self, table: IntegralImage, scales: list[float]) -> Iterator[tuple[np.ndarray, ...]]:
        """Give, tile by tile, the cells that may hold a face: frame, level, box (m, 4), offset (m, 4), score."""
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
                box = cell_box(x, y + first, scale).numpy()
                yield frame[index.numpy()], np.full(len(x), level), box, offset.cpu().numpy(), _score(logit[hot])

    def _refine(self, table: IntegralImage, faces: "_Candidates") -> "_Candidates":
        """R-Net: most candidates go, the others get a better box, made square again."""
        faces, out = _judge(rnet, self._rnet, table, faces, _REFINE, self._thresholds[1])
        kept = nms(faces.box, faces.score, faces.frame, 0.7)
        moved = _moved(faces.box[kept], out[kept, :4])
        return _Candidates(faces.frame[kept], _squared(moved), faces.score[kept])

    def _finish(self, table: IntegralImage | FewAreas, faces: "_Candidates") -> tuple[np.ndarray, ...]:
        """O-Net: the last word, with landmarks. Gives the columns of Detections."""
        faces, out = _judge(onet, self._onet, table, faces, _FINISH, self._thresholds[2])
        box, landmarks = _moved(faces.box, out[:, :4]), _landmarks(faces.box, out[:, 4:])
        kept = nms(box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], box[kept], faces.score[kept], landmarks[kept]


@dataclass(frozen=True)
class _Candidates:
    """m squares on their way through the stages: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray


def _judge(
    net: Callable[[Tensor, Weights], Tensor],
    weights: Weights,
    table: IntegralImage | FewAreas,
    faces: _Candidates,
    shape: tuple[int, int],
    threshold: float,
) -> tuple[_Candidates, np.ndarray]:
    """Show the candidates to a network -> those that score above threshold, and its other outputs (m, ...) for them.

    A candidate that lies outside its picture is dropped.
    """
    side, chunk = shape
    inner = np.trunc(faces.box).astype(np.int64)
    inner[:, :2] = np.maximum(inner[:, :2], 1) - 1
    inner[:, 2:] = np.minimum(inner[:, 2:], (table.width, table.height))
    seen = np.flatnonzero((inner[:, :2] < inner[:, 2:]).all(1))
    outs = [torch.zeros((0, len(weights["head.bias"])), device=weights["head.bias"].device)]
    for first in range(0, len(seen), _CUT * chunk):
        some = seen[first : first + _CUT * chunk]
        some = np.append(some, some[-1:].repeat(-len(some) % chunk))  # the last chunk repeats its last crop
        for crops in table.crop(faces.frame[some], inner[some], (side, side)).split(chunk):
            outs.append(net(crops.to_mkldnn() if weights["conv1.weight"].is_mkldnn else crops, weights))
    out = torch.cat(outs)[: len(seen)]
    score = _score(out[:, 0])
    passed = score > threshold
    kept = seen[passed]
    return _Candidates(faces.frame[kept], faces.box[kept], score[passed]), out[:, 1:].cpu().numpy()[passed]


def _best(faces: _Candidates, most: int) -> _Candidates:
    """The candidates of the best scores of each picture, so many at most."""
    order = np.lexsort((-faces.score, faces.frame))
    frame = faces.frame[order]
    kept = order[np.arange(len(order)) - np.searchsorted(frame, frame) < most]
    return _Candidates(faces.frame[kept], faces.box[kept], faces.score[kept])


def _windows(
    pictures: Sequence[np.ndarray], frame: np.ndarray, box: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut out what lies around boxes (m, 4) -> windows (m, s, s, 3), corners (m, 2), sizes of their pixels (m,).

    What lies outside a picture is black.
    """
    square = np.rint(_squared(_scaled(box, _WINDOW)))
    window = np.zeros((len(box), _WINDOW_PX, _WINDOW_PX, 3), np.uint8)
    for one, i, place in zip(window, frame, square.astype(int).tolist()):
        part = Image.fromarray(pictures[i]).crop(place)
        one[:] = np.asarray(part.resize((_WINDOW_PX, _WINDOW_PX), Image.Resampling.BOX))
    return window, square[:, :2], (square[:, 2] - square[:, 0]) / np.float32(_WINDOW_PX)


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _score(logit: Tensor) -> np.ndarray:
    """The sigmoid, by NumPy: the last bits of torch's depend on where in its array a number stands."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logit.cpu().numpy()))


def _tiles(n: int, rows: int, columns: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Cut a level of n pictures into tiles: pictures, first and last + 1 row of cells."""
    cells = (rows - 1) // STRIDE - 4
    strip = min(cells, max(8, _TILE_PIXELS // columns // STRIDE))
    step = max(1, _TILE_PIXELS // (rows * columns))
    for frame in range(0, n, step):
        for first in range(0, cells, strip):
            yield np.arange(frame, min(frame + step, n)), first, min(first + strip, cells)


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., np.ndarray]:
    """Let a function of tensors take and give arrays."""

    def call(*array: np.ndarray, **options: bool) -> np.ndarray:
        return function(*map(torch.from_numpy, array), **options).numpy()

    return call


_moved, _squared, _landmarks = _on_arrays(moved), _on_arrays(squared), _on_arrays(landmarks)


def _scaled(box: np.ndarray, factor: float) -> np.ndarray:
    """Shrink or grow each box about its centre."""
    centre, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) * np.float32(factor / 2)
    return np.concatenate((centre - half, centre + half), 1)
