"""Find faces with MTCNN in many frames at once: facenet-pytorch's weights and results at a fraction of its time.

    picture -> propose (P-Net) -> refine (R-Net) -> finish (O-Net) -> Detections

Three small networks, each surer than the one before (Zhang et al. 2016, arXiv 1604.02878). The arithmetic is that of
`facenet_pytorch/models/utils/detect_face.py` 2.5.3, odd as it is in places: some boxes include their last pixel, others
do not. Only the way there differs:

- every pyramid level and every crop is read from one table of cumulative sums (`AreaTable`), at a cost that does not
  grow with the area covered, and no loop runs over boxes;
- the scaling of the input lives in the first convolution, and a two-way softmax in one logit;
- P-Net sees few frames at a time, because the cache limits it, not the arithmetic; R-Net and O-Net see the candidates
  of all frames in chunks of one fixed shape, so that a result does not depend on who shares the batch.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.errors import ConfigError, DeviceError, MissingDependency

__all__ = ["MTCNN", "AreaTable", "Detections", "suppress"]

Weights = dict[str, Tensor]

_TABLE_PIXELS = 2**24  # pixels (of 12 bytes) in the tables that are alive at once
_TILE_PIXELS = 2**18  # pixels of a pyramid level that P-Net sees at once: its layers then stay in the cache
_LARGEST = (2**16 - 1) // 255  # pixels of white that 16 bits can sum up
_PAIRS = 2**20  # pairs of boxes compared at once
_CELL, _STRIDE = 12, 2  # what one P-Net output sees, and the step to the next, in pixels of its level


@dataclass(frozen=True)
class Detections:
    """m faces in n frames, in the order of the frames and within a frame by falling score.

    frame (m,) int64; box_px (m, 4) float32 x0, y0, x1, y1, may reach over the border; score (m,) float32 in 0..1;
    landmarks_px (m, 5, 2) float32 x, y: left eye, right eye, nose, left and right corner of the mouth as seen.
    """

    frame: np.ndarray
    box_px: np.ndarray
    score: np.ndarray
    landmarks_px: np.ndarray


class _Candidates(NamedTuple):
    """m boxes on their way through the stages: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "_Candidates":  # type: ignore[override]
        return _Candidates(self.frame[chosen], self.box[chosen], self.score[chosen])


class MTCNN:
    """The FaceDetector over facenet-pytorch's three networks."""

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face_px: float = 20,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        device: str = "cpu",
    ) -> None:
        """Load the networks. `thresholds` are the scores to pass P-, R- and O-Net, `factor` the step of the pyramid."""
        if min_face_px <= 0 or not 0 < factor < 1 or len(thresholds) != 3 or not all(0 < t < 1 for t in thresholds):
            raise ConfigError(
                "MTCNN: expected min_face_px > 0, a factor and three thresholds between 0 and 1, "
                f"found {min_face_px=}, {factor=}, {thresholds=}"
            )
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise DeviceError(f"no CUDA device for {device!r} on this machine: use --device cpu")
        self._min_face_px, self._thresholds, self._factor = min_face_px, tuple(thresholds), factor
        self._device = torch.device(device)
        self._pnet, self._rnet, self._onet = (_load(name, self._device) for name in ("pnet", "rnet", "onet"))

    @torch.inference_mode()
    def detect(self, picture: np.ndarray) -> Detections:
        """Find the faces in picture (n, h, w, 3) uint8 RGB."""
        if picture.ndim != 4 or picture.shape[3] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"picture: expected uint8 (n, h, w, 3), found {picture.dtype} {picture.shape}")
        parts = [_NOTHING]
        step = max(1, _TABLE_PIXELS // (picture.shape[1] * picture.shape[2] + 1))
        for first in range(0, len(picture), step):
            table = AreaTable(picture[first : first + step], self._device)
            faces = self._propose(table)
            faces = self._refine(table, faces)
            found = self._finish(table, faces)
            parts.append((found[0] + first, *found[1:]))
        return Detections(*(np.concatenate(column) for column in zip(*parts)))

    def _propose(self, table: "AreaTable") -> _Candidates:
        """P-Net over a pyramid: all boxes that may hold a face, squared."""
        frame, level, box, offset, score = (np.concatenate(c) for c in zip(_NO_CELL, *self._scan(table)))
        kept = suppress(box, score, level * table.n + frame, 0.5)
        kept = kept[suppress(box[kept], score[kept], frame[kept], 0.7)]
        moved = _moved(box[kept], offset[kept], inclusive=False)
        return _Candidates(frame[kept], _squared(moved), score[kept])

    def _scan(self, table: "AreaTable") -> Iterator[tuple[np.ndarray, ...]]:
        """Give for each level the cells that may hold a face: frame, level, box, offset (m, 4), score."""
        for level, scale in enumerate(_scales(table.height, table.width, self._min_face_px, self._factor)):
            size = int(table.height * scale + 1), int(table.width * scale + 1)
            rows, columns = _bins(0, table.height, size[0]), _bins(0, table.width, size[1])
            for frame, first, stop in _tiles(table.n, *size):
                part = slice(_STRIDE * first, _STRIDE * stop + _CELL - _STRIDE)
                logit, feature = _pnet(table.mean(frame, rows[:, :, part], columns), self._pnet)
                hot = torch.nonzero(logit >= _logit(self._thresholds[0]))
                index, y, x = hot.cpu().numpy().T
                offset, score = _at(hot, logit, feature, self._pnet)
                yield frame[index], np.full(len(x), level), _cells(x, y + first, scale), offset, score

    def _refine(self, table: "AreaTable", faces: _Candidates) -> _Candidates:
        """R-Net: most candidates go, the others get a better box, squared again."""
        faces, out = _judge(_rnet, self._rnet, table, faces, (24, 32))
        passed = faces.score > self._thresholds[1]
        faces, out = faces[passed], out[passed]
        kept = suppress(faces.box, faces.score, faces.frame, 0.7)
        faces, out = faces[kept], out[kept]
        return faces._replace(box=_squared(_moved(faces.box, out[:, :4])))

    def _finish(self, table: "AreaTable", faces: _Candidates) -> tuple[np.ndarray, ...]:
        """O-Net: the last word, with landmarks. Gives the columns of Detections."""
        faces, out = _judge(_onet, self._onet, table, faces, (48, 16))
        passed = faces.score > self._thresholds[2]
        faces, out = faces[passed], out[passed]
        corner, side = faces.box[:, None, :2], faces.box[:, None, 2:] - faces.box[:, None, :2] + 1
        landmarks = side * out[:, 4:].reshape(-1, 2, 5).transpose(0, 2, 1) + corner - 1
        faces = faces._replace(box=_moved(faces.box, out[:, :4]))
        kept = suppress(faces.box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], faces.box[kept], faces.score[kept], landmarks[kept]


class AreaTable:
    """Means over any rectangle of any frame from four look-ups (Crow 1984, summed-area tables).

    A cell holds the three channels side by side in one int64, 16 bits each, red lowest. The sums of the table run over;
    the difference of four does not while its rectangle is small, and larger ones are cut (`_LARGEST`).
    """

    def __init__(self, picture: np.ndarray, device: torch.device) -> None:
        self.n, self.height, self.width, _ = picture.shape
        table = np.zeros((self.n, self.height + 1, self.width + 1), np.int64)
        for pixels, sums in zip(picture, table):  # a frame at a time stays in the cache
            packed = pixels[..., 2].astype(np.int64)
            for channel in (1, 0):
                packed <<= 16
                packed += pixels[..., channel]
            for y, row in enumerate(packed):  # twice as fast as np.cumsum along this axis
                np.add(sums[y, 1:], row, out=sums[y + 1, 1:])
        self._cells = torch.from_numpy(table).to(device).cumsum_(2).view(-1)

    def crop(self, frame: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> Tensor:
        """Resize boxes to size (rows, columns) exactly as `F.interpolate(mode="area")` does.

        frame (m,), box (m, 4) int x0, y0, x1, y1 without the last pixel, inside the picture and not empty
        -> (m, 4, rows, columns) float32 in 0..255, channels last, the fourth 0. A pyramid level is the crop of a whole frame.
        """
        rows = _bins(box[:, 1], box[:, 3], size[0])
        return self.mean(frame, rows, _bins(box[:, 0], box[:, 2], size[1]))

    def mean(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Average over the rectangles where rows (2, m or 1, r) and columns (2, m or 1, c) cross, first and last + 1."""
        tall, wide = ((last - first).astype(np.float32) for first, last in (rows, columns))
        mean = self._sums(frame, rows, columns)
        mean.div_(torch.from_numpy(tall).to(mean.device)[:, :, None])
        mean.div_(torch.from_numpy(wide.repeat(4, 1)).to(mean.device)[:, None])
        return mean.view(len(frame), tall.shape[1], -1, 4).permute(0, 3, 1, 2)

    def _sums(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Sum over the rectangles -> (m, r, c * 4) float32, the fourth channel 0."""
        tall, wide = (rows[1] - rows[0]).max(), (columns[1] - columns[0]).max()
        if tall * wide > _LARGEST:
            if tall > wide:
                return self._sums(frame, _half(rows, 0), columns).add_(self._sums(frame, _half(rows, 1), columns))
            return self._sums(frame, rows, _half(columns, 0)).add_(self._sums(frame, rows, _half(columns, 1)))
        base = frame[:, None] * (self.height + 1)
        first, last = (base + rows) * (self.width + 1)
        left, right = columns
        sums = self._look_up(last, right).sub_(self._look_up(first, right))
        sums.sub_(self._look_up(last, left)).add_(self._look_up(first, left))
        return sums.view(torch.uint16).float()

    def _look_up(self, row: np.ndarray, column: np.ndarray) -> Tensor:
        index = row.astype(np.int32)[:, :, None] + column.astype(np.int32)[:, None]
        found = self._cells.index_select(0, torch.from_numpy(index.reshape(-1)).to(self._cells.device))
        return found.view(index.shape)


def _bins(start: np.ndarray | int, stop: np.ndarray | int, n: int) -> np.ndarray:
    """Cut start..stop (m,) into n bins that touch or overlap, as adaptive pooling does -> first, last + 1 (2, m, n)."""
    start, i = np.reshape(start, (-1, 1)), np.arange(n)
    length = np.reshape(stop, (-1, 1)) - start
    return np.stack((start + i * length // n, start - (i + 1) * -length // n))


def _half(bins: np.ndarray, which: int) -> np.ndarray:
    """Keep the first (0) or the second (1) half of every bin (2, m, n)."""
    middle = bins.sum(0) // 2
    return np.stack((bins[0], middle) if which == 0 else (middle, bins[1]))


def _tiles(n: int, rows: int, columns: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Cut a level of n frames into what P-Net sees at once: frames, first and last + 1 row of cells."""
    cells = (rows - 1) // _STRIDE - 4
    strip = min(cells, max(8, _TILE_PIXELS // columns // _STRIDE))
    step = max(1, _TILE_PIXELS // (rows * columns))
    for frame in range(0, n, step):
        for first in range(0, cells, strip):
            yield np.arange(frame, min(frame + step, n)), first, min(first + strip, cells)


def suppress(
    box: np.ndarray, score: np.ndarray, group: np.ndarray, threshold: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Keep the best of every heap of boxes within a group: greedy non-maximum suppression of all groups at once.

    box (m, 4) float32, score (m,), group (m,) int -> indices of the kept, by group, then falling score. Overlap is
    intersection over union; `of_smaller`: over the smaller box, sides counted with their last pixel.
    """
    order = np.lexsort((-score, group))
    better, worse = _overlapping(box[order], group[order], threshold, of_smaller)
    kept, open_ = np.zeros(len(order), bool), np.ones(len(order), bool)
    while open_.any():  # a round settles each box whose betters are all settled
        beaten, lost = np.zeros_like(kept), np.zeros_like(kept)
        beaten[worse] = True
        won = open_ & ~beaten
        lost[worse[won[better]]] = True
        kept |= won
        open_ &= ~(won | lost)
        rest = open_[better] & open_[worse]
        better, worse = better[rest], worse[rest]
    return order[kept]


def _overlapping(
    box: np.ndarray, group: np.ndarray, threshold: float, of_smaller: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of boxes in one group that overlap by more than threshold -> lower and higher index (p,)."""
    extra = np.float32(of_smaller)
    low, high, side = box[:, :2], box[:, 2:], box[:, 2:] - box[:, :2] + extra
    area = side[:, 0] * side[:, 1]
    key = low[:, 0] + group * (np.ptp(box) + 3.0 if len(box) else 0.0)  # groups lie side by side, out of reach
    by_x = np.argsort(key, kind="stable")
    reach = np.searchsorted(key[by_x], (key + side[:, 0])[by_x], "right") - np.arange(len(key)) - 1
    pairs = [np.zeros((2, 0), np.int64)]
    for i, j in _windows(np.maximum(reach, 0)):
        i, j = by_x[i], by_x[j]
        near = np.abs(low[i, 1] - low[j, 1]) < np.maximum(side[i, 1], side[j, 1])
        i, j = i[near], j[near]
        common = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]) + extra, 0)
        shared = common[:, 0] * common[:, 1]
        whole = np.minimum(area[i], area[j]) if of_smaller else area[i] + area[j] - shared
        hit = shared / np.maximum(whole, np.float32(1e-9)) > threshold
        pairs.append(np.sort((i[hit], j[hit]), 0))
    better, worse = np.concatenate(pairs, 1)
    return better, worse


def _windows(reach: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each i with i + 1 ... i + reach[i], at most about _PAIRS pairs at once."""
    ends = np.cumsum(reach)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, _PAIRS), "right")
    for start, stop in zip(cuts, [*cuts[1:], len(reach)]):
        count = reach[start:stop]
        i = np.repeat(np.arange(start, stop), count)
        yield i, i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)


def _scales(height: int, width: int, min_face_px: float, factor: float) -> Iterator[float]:
    """Give the scales at which a cell sees min_face_px, then larger faces, until the picture is smaller than a cell."""
    scale = _CELL / min_face_px
    smallest = min(height, width) * scale
    while smallest >= _CELL:
        yield scale
        scale, smallest = scale * factor, smallest * factor


def _cells(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Where the P-Net cells (m,) at x, y of a level lie in the picture: box (m, 4) float32."""
    corner = _STRIDE * np.stack((x, y), 1).astype(np.float32)
    return np.concatenate((np.floor((corner + 1) / scale), np.floor((corner + _CELL) / scale)), 1)


def _moved(box: np.ndarray, offset: np.ndarray, *, inclusive: bool = True) -> np.ndarray:
    """Move the edges of box (m, 4) by offset (m, 4), in sides, which count the last pixel if `inclusive`."""
    side = box[:, 2:] - box[:, :2] + np.float32(inclusive)
    return box + offset * np.tile(side, 2)


def _squared(box: np.ndarray) -> np.ndarray:
    """Grow box (m, 4) about its centre to a square of the longer side."""
    side = box[:, 2:] - box[:, :2]
    longest = side.max(1, keepdims=True, initial=0)
    corner = box[:, :2] + side * np.float32(0.5) - longest * np.float32(0.5)
    return np.concatenate((corner, corner + longest), 1)


def _judge(
    net: Callable[[Tensor, Weights], Tensor],
    weights: Weights,
    table: AreaTable,
    faces: _Candidates,
    shape: tuple[int, int],
) -> tuple[_Candidates, np.ndarray]:
    """Show the candidates to a network, in chunks of one fixed shape: (crop side, crops in a chunk).

    Gives the candidates inside the picture with their new score, and the other outputs (m, ...) of the network.
    """
    side, chunk = shape
    inner = np.trunc(faces.box).astype(np.int64)
    inner[:, :2] = np.maximum(inner[:, :2], 1) - 1
    inner[:, 2:] = np.minimum(inner[:, 2:], (table.width, table.height))
    inside = (inner[:, :2] < inner[:, 2:]).all(1)
    faces, inner = faces[inside], inner[inside]
    outs = [np.zeros((0, len(weights["head.bias"])), np.float32)]
    for first in range(0, len(inner), chunk):
        part = np.arange(first, first + chunk).clip(max=len(inner) - 1)  # the last chunk repeats its last crop
        crops = table.crop(faces.frame[part], inner[part], (side, side))
        outs.append(net(crops, weights).cpu().numpy()[: len(inner) - first])
    out = np.concatenate(outs)
    return faces._replace(score=_sigmoid(out[:, 0])), out[:, 1:]


def _pnet(x: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """(n, 3, h, w) -> the logit of a face (n, h', w') and the features (n, h', w', 32) in every cell."""
    x = _halve(_layer(x, w, 1))
    x = _layer(_layer(x, w, 2), w, 3).permute(0, 2, 3, 1)
    return x @ w["head.weight"][0] + w["head.bias"][0], x


def _rnet(x: Tensor, w: Weights) -> Tensor:
    """(n, 3, 24, 24) -> (n, 5): the logit of a face, box offsets."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    return _head(_layer(x, w, 3), w, 4)


def _onet(x: Tensor, w: Weights) -> Tensor:
    """(n, 3, 48, 48) -> (n, 15): the logit of a face, box offsets, landmarks (five x, five y)."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 3), 2, 2, ceil_mode=True)
    return _head(_layer(x, w, 4), w, 5)


def _layer(x: Tensor, w: Weights, i: int) -> Tensor:
    """Convolve, then PReLU over whole rows of pixels: over channels alone torch takes twice as long."""
    x = F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]).permute(0, 2, 3, 1)
    n, rows, columns, channels = x.shape
    x = F.prelu(x.reshape(n * rows, columns * channels), w[f"prelu{i}.weight"].repeat(columns))
    return x.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _head(x: Tensor, w: Weights, i: int) -> Tensor:
    x = x.permute(0, 3, 2, 1).flatten(1)  # the weights come from Caffe by way of MATLAB: columns first
    x = F.prelu(F.linear(x, w[f"dense{i}.weight"], w[f"dense{i}.bias"]), w[f"prelu{i}.weight"])
    return F.linear(x, w["head.weight"], w["head.bias"])


def _halve(x: Tensor) -> Tensor:
    """Max-pool 2 x 2 in ceil mode, three times as fast as `F.max_pool2d`, which also keeps the indices."""
    n, channels, rows, columns = x.shape
    like = {"memory_format": torch.channels_last, "device": x.device}
    tall = torch.empty((n, channels, (rows + 1) // 2, columns), **like)
    torch.maximum(x[:, :, : rows - 1 : 2], x[:, :, 1::2], out=tall[:, :, : rows // 2])
    tall[:, :, rows // 2 :] = x[:, :, rows - rows % 2 :]
    half = torch.empty((n, channels, (rows + 1) // 2, (columns + 1) // 2), **like)
    torch.maximum(tall[..., : columns - 1 : 2], tall[..., 1::2], out=half[..., : columns // 2])
    half[..., columns // 2 :] = tall[..., columns - columns % 2 :]
    return half


def _load(name: str, device: torch.device) -> Weights:
    """Read a network that facenet-pytorch ships, without importing that package, which takes seconds.

    The input scaling (x - 127.5) / 128 goes into conv1. The heads become one: row 0 is the logit of a face, that is the
    difference of the two softmax inputs; then the box offsets and, in O-Net, the landmarks.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    if package is None or package.origin is None:
        raise MissingDependency("the detector mtcnn needs facenet-pytorch: pip install facenet-pytorch==2.5.3")
    w: Weights = torch.load(Path(package.origin).with_name("data") / f"{name}.pt", map_location=device, weights_only=True)
    scaled = w["conv1.weight"] / 128
    w["conv1.bias"] -= 127.5 * scaled.sum((1, 2, 3))
    w["conv1.weight"] = F.pad(scaled, (0, 0, 0, 0, 0, 1))  # AreaTable gives a fourth channel, 0
    for part in ("weight", "bias"):
        heads = [w.pop(key).flatten(1) if part == "weight" else w.pop(key) for key in sorted(w) if f"_" in key and key.endswith(part)]
        w[f"head.{part}"] = torch.cat((heads[0][1:] - heads[0][:1], *heads[1:]))
    return {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in w.items()}


def _at(hot: Tensor, logit: Tensor, feature: Tensor, w: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Box offsets (m, 4) and score (m,) of the cells hot (m, 3): few pass, so only they are regressed."""
    cell = tuple(hot.T)
    offset = (feature[cell][:, None] * w["head.weight"][1:]).sum(2) + w["head.bias"][1:]
    return offset.cpu().numpy(), _sigmoid(logit[cell].cpu().numpy())


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


_NO_CELL = (
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
)
_NOTHING = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
