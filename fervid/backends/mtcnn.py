"""Find faces with MTCNN in many pictures at once: facenet-pytorch's weights and results in a third of its time.

    pictures -> propose (P-Net) -> refine (R-Net) -> finish (O-Net) -> Detections

Three small networks, each surer than the one before (Zhang et al. 2016, arXiv 1604.02878). The arithmetic is that of
`facenet_pytorch/models/utils/detect_face.py` 2.5.3, odd as it is in places: some sides count their last pixel, others
do not. Only the way there differs:

- every pyramid level and every crop is read from one table of cumulative sums (`AreaTable`), at a cost that does not
  grow with the area covered, and no loop runs over boxes;
- the scaling of the input lives in the first convolution, and a two-way softmax in one logit;
- R-Net and O-Net see the candidates of all pictures together, in chunks of one fixed shape: a result does not depend
  on who shares the batch.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fervid.backends.device import one_thread, resolve_device
from fervid.errors import ConfigError, MissingDependency
from fervid.faces import Detections

__all__ = ["MTCNN", "AreaTable", "suppress"]

Weights = dict[str, Tensor]

_PASS_PIXELS = 2**23  # of the pictures that go through the stages together: 67 MB of AreaTable
_TILE_PIXELS = 2**19  # of a pyramid level that P-Net sees at once: 40 MB of activations
_CELL, _STRIDE = 12, 2  # what one P-Net output sees, and the step to the next, in pixels of its level
_REFINE, _FINISH = (24, 32), (48, 16)  # R-Net's and O-Net's input: side of a crop, crops in a chunk
_LARGEST = (2**16 - 1) // 255  # pixels of white that 16 bits can sum up
_PAIRS = 2**20  # of boxes compared at once


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
        self._thresholds, self._factor, self._device = tuple(thresholds), factor, torch.device(resolve_device(device))
        self._pnet, self._rnet, self._onet = (_load(name, self._device) for name in ("pnet", "rnet", "onet"))

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
        scales = list(_scales(height, width, min_face_px, self._factor))
        if n == 0 or not scales:
            return _NOBODY
        found = []
        step = max(1, _PASS_PIXELS // (height * width))
        with torch.inference_mode():
            for first in range(0, n, step):
                table = AreaTable(picture[first : first + step], self._device)
                faces = self._propose(table, scales)
                faces = self._refine(table, faces)
                frame, *rest = self._finish(table, faces)
                found.append((frame + first, *rest))
        return Detections(*map(np.concatenate, zip(*found)))

    def _propose(self, table: "AreaTable", scales: list[float]) -> "_Candidates":
        """P-Net over the pyramid: every square that may hold a face."""
        frame, level, box, offset, score = map(np.concatenate, zip(*self._scan(table, scales)))
        kept = suppress(box, score, level * table.n + frame, 0.5)
        kept = kept[suppress(box[kept], score[kept], frame[kept], 0.7)]
        moved = _moved(box[kept], offset[kept], inclusive=False)
        return _Candidates(frame[kept], _squared(moved), score[kept])

    def _scan(self, table: "AreaTable", scales: list[float]) -> Iterator[tuple[np.ndarray, ...]]:
        """Give, tile by tile, the cells that may hold a face: frame, level, box (m, 4), offset (m, 4), score."""
        for level, scale in enumerate(scales):
            size = int(table.height * scale + 1), int(table.width * scale + 1)
            rows, columns = _bins(0, table.height, size[0]), _bins(0, table.width, size[1])
            for frame, first, stop in _tiles(table.n, *size):
                part = slice(_STRIDE * first, _STRIDE * (stop - 1) + _CELL)
                logit, feature = _pnet(table.mean(frame, rows[:, :, part], columns), self._pnet)
                hot = torch.nonzero(logit >= _logit(self._thresholds[0]), as_tuple=True)
                offset = (feature[hot][:, None] * self._pnet["head.weight"][1:]).sum(2) + self._pnet["head.bias"][1:]
                index, y, x = (axis.cpu().numpy() for axis in hot)
                box = _cell_box(x, y + first, scale)
                yield frame[index], np.full(len(x), level), box, offset.cpu().numpy(), _score(logit[hot])

    def _refine(self, table: "AreaTable", faces: "_Candidates") -> "_Candidates":
        """R-Net: most candidates go, the others get a better box, made square again."""
        faces, out = _judge(_rnet, self._rnet, table, faces, _REFINE, self._thresholds[1])
        kept = suppress(faces.box, faces.score, faces.frame, 0.7)
        moved = _moved(faces.box[kept], out[kept, :4])
        return _Candidates(faces.frame[kept], _squared(moved), faces.score[kept])

    def _finish(self, table: "AreaTable", faces: "_Candidates") -> tuple[np.ndarray, ...]:
        """O-Net: the last word, with landmarks. Gives the columns of Detections."""
        faces, out = _judge(_onet, self._onet, table, faces, _FINISH, self._thresholds[2])
        corner, side = faces.box[:, None, :2], faces.box[:, None, 2:] - faces.box[:, None, :2] + 1
        landmarks = side * out[:, 4:].reshape(-1, 2, 5).transpose(0, 2, 1) + corner - 1
        box = _moved(faces.box, out[:, :4])
        kept = suppress(box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], box[kept], faces.score[kept], landmarks[kept]


@dataclass(frozen=True)
class _Candidates:
    """m squares on their way through the stages: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: np.ndarray
    box: np.ndarray
    score: np.ndarray


_NOBODY = Detections(
    frame=np.zeros(0, np.int64),
    box_px=np.zeros((0, 4), np.float32),
    score=np.zeros(0, np.float32),
    landmarks_px=np.zeros((0, 5, 2), np.float32),
)


def _judge(
    net: Callable[[Tensor, Weights], Tensor], weights: Weights, table: "AreaTable", faces: _Candidates,
    shape: tuple[int, int], threshold: float,
) -> tuple[_Candidates, np.ndarray]:  # fmt: skip
    """Show the candidates to a network -> those that score above threshold, and its other outputs (m, ...) for them.

    A candidate that lies outside its picture is dropped.
    """
    side, chunk = shape
    inner = np.trunc(faces.box).astype(np.int64)
    inner[:, :2] = np.maximum(inner[:, :2], 1) - 1
    inner[:, 2:] = np.minimum(inner[:, 2:], (table.width, table.height))
    seen = np.flatnonzero((inner[:, :2] < inner[:, 2:]).all(1))
    outs = [torch.zeros((0, len(weights["head.bias"])), device=weights["head.bias"].device)]
    for first in range(0, len(seen), chunk):
        part = seen[np.arange(first, first + chunk).clip(max=len(seen) - 1)]  # the last chunk repeats its last crop
        crops = table.crop(faces.frame[part], inner[part], (side, side))
        outs.append(net(crops.to_mkldnn() if weights["conv1.weight"].is_mkldnn else crops, weights))
    out = torch.cat(outs)[: len(seen)]
    score = _score(out[:, 0])
    passed = score > threshold
    kept = seen[passed]
    return _Candidates(faces.frame[kept], faces.box[kept], score[passed]), out[:, 1:].cpu().numpy()[passed]


# -- the networks: plain functions of their weights --------------------------------------------------------


def _pnet(x: Tensor, w: Weights) -> tuple[Tensor, Tensor]:
    """(n, 4, h, w) -> in every cell the logit of a face (n, h', w') and the features (n, h', w', 32) of its box."""
    x = _halve(_wide_layer(x, w, 1))
    x = _wide_layer(_wide_layer(x, w, 2), w, 3).permute(0, 2, 3, 1)
    return x @ w["head.weight"][0] + w["head.bias"][0], x


def _rnet(x: Tensor, w: Weights) -> Tensor:
    """(n, 4, 24, 24) -> (n, 5): the logit of a face, box offsets."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    return _head(_layer(x, w, 3), w, 4)


def _onet(x: Tensor, w: Weights) -> Tensor:
    """(n, 4, 48, 48) -> (n, 15): the logit of a face, box offsets, landmarks (five x, five y)."""
    x = F.max_pool2d(_layer(x, w, 1), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(_layer(x, w, 3), 2, 2, ceil_mode=True)
    return _head(_layer(x, w, 4), w, 5)


def _layer(x: Tensor, w: Weights, i: int) -> Tensor:
    return F.prelu(F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]), w[f"prelu{i}.weight"])


def _head(x: Tensor, w: Weights, i: int) -> Tensor:
    """Two dense layers; the weights count the pixels of (n, channels, rows, columns) column by column."""
    x = (x.to_dense() if x.is_mkldnn else x).permute(0, 3, 2, 1).flatten(1)
    x = F.prelu(F.linear(x, w[f"dense{i}.weight"], w[f"dense{i}.bias"]), w[f"prelu{i}.weight"])
    return F.linear(x, w["head.weight"], w["head.bias"])


def _wide_layer(x: Tensor, w: Weights, i: int) -> Tensor:
    """Do what _layer does, with PReLU over whole rows of pixels: ten channels at a time take twice as long."""
    x = F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"]).permute(0, 2, 3, 1)
    n, rows, columns, channels = x.shape
    x = F.prelu(x.reshape(n * rows, columns * channels), w[f"prelu{i}.weight"].repeat(columns))
    return x.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _halve(x: Tensor) -> Tensor:
    """Max-pool 2 x 2 in ceil mode, at a third of the cost of `F.max_pool2d`, which also notes the indices."""
    n, channels, rows, columns = x.shape
    tall = x.new_empty((n, (rows + 1) // 2, columns, channels)).permute(0, 3, 1, 2)
    torch.maximum(x[:, :, : rows - 1 : 2], x[:, :, 1::2], out=tall[:, :, : rows // 2])
    tall[:, :, rows // 2 :] = x[:, :, rows - rows % 2 :]
    half = x.new_empty((n, (rows + 1) // 2, (columns + 1) // 2, channels)).permute(0, 3, 1, 2)
    torch.maximum(tall[..., : columns - 1 : 2], tall[..., 1::2], out=half[..., : columns // 2])
    half[..., columns // 2 :] = tall[..., columns - columns % 2 :]
    return half


def _load(name: str, device: torch.device) -> Weights:
    """Read a network that facenet-pytorch ships, without importing that package, which takes seconds.

    The input scaling (x - 127.5) / 128 goes into conv1. The heads become one: row 0 is the logit of a face, that is the
    difference of the two inputs of the softmax; then the box offsets and, in O-Net, the landmarks. On a CPU the small
    inputs of R- and O-Net gain a quarter from oneDNN's own layout.
    """
    package = importlib.util.find_spec("facenet_pytorch")
    if package is None or package.origin is None:
        raise MissingDependency("the detector mtcnn needs facenet-pytorch: pip install facenet-pytorch==2.5.3")
    path = Path(package.origin).with_name("data") / f"{name}.pt"
    w: Weights = torch.load(path, map_location=device, weights_only=True)
    scaled = w["conv1.weight"] / 128
    w["conv1.bias"] -= 127.5 * scaled.sum((1, 2, 3))
    w["conv1.weight"] = F.pad(scaled, (0, 0, 0, 0, 0, 1))  # AreaTable gives a fourth channel, 0
    for part in ("weight", "bias"):
        face, *others = (w.pop(key).squeeze() for key in sorted(w) if "_" in key and key.endswith(part))
        w[f"head.{part}"] = torch.cat((face[1:] - face[:1], *others))
    if name == "pnet" or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return {key: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for key, t in w.items()}
    convolved = [key for key in w if key.startswith(("conv", "prelu")) and key.replace("prelu", "conv") in w]
    return w | {key: w[key].to_mkldnn() for key in convolved}


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _score(logit: Tensor) -> np.ndarray:
    return torch.sigmoid(logit).cpu().numpy()


# -- the pyramid and the crops -----------------------------------------------------------------------------


class AreaTable:
    """Means over any rectangle of any picture from four look-ups (Crow 1984, summed-area tables).

    A cell holds the three channels side by side in one int64, 16 bits each, red lowest. The sums in the table run over;
    the difference of four does not while its rectangle is small, and larger ones are halved (`_LARGEST`).
    """

    def __init__(self, picture: np.ndarray, device: torch.device) -> None:
        self.n, self.height, self.width, _ = picture.shape
        table = np.zeros((self.n, self.height + 1, self.width + 1), np.int64)
        for pixels, sums in zip(picture, table):  # one picture at a time stays in the cache
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
        -> (m, 4, rows, columns) float32 in 0..255, channels last: red, green, blue, 0.
        """
        return self.mean(frame, _bins(box[:, 1], box[:, 3], size[0]), _bins(box[:, 0], box[:, 2], size[1]))

    def mean(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Average frame (m,) where rows (2, m or 1, r) and columns (2, m or 1, c), first and last + 1, cross."""
        tall, wide = (torch.from_numpy((last - first).astype(np.float32)) for first, last in (rows, columns))
        mean = self._sum(frame, rows, columns)
        mean.div_(tall.to(mean.device)[:, :, None])
        mean.div_(wide.repeat_interleave(4, 1).to(mean.device)[:, None])
        return mean.view(len(frame), tall.shape[1], wide.shape[1], 4).permute(0, 3, 1, 2)

    def _sum(self, frame: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Sum over the same rectangles -> (m, r, c * 4) float32."""
        tall, wide = (rows[1] - rows[0]).max(), (columns[1] - columns[0]).max()
        if tall * wide > _LARGEST and tall > wide:
            upper, lower = _halves(rows)
            return self._sum(frame, upper, columns).add_(self._sum(frame, lower, columns))
        if tall * wide > _LARGEST:
            left, right = _halves(columns)
            return self._sum(frame, rows, left).add_(self._sum(frame, rows, right))
        above, below = (frame[:, None] * (self.height + 1) + rows) * (self.width + 1)
        left, right = columns
        sums = self._look_up(below, right).sub_(self._look_up(above, right))
        sums.sub_(self._look_up(below, left)).add_(self._look_up(above, left))
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


def _halves(bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut every bin (2, m, n) in two."""
    first, last = bins
    middle = (first + last) // 2
    return np.stack((first, middle)), np.stack((middle, last))


# -- suppression -------------------------------------------------------------------------------------------


def suppress(
    box: np.ndarray, score: np.ndarray, group: np.ndarray, threshold: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Keep the best of every heap of boxes: greedy non-maximum suppression in all groups at once.

    box (m, 4) float32, score (m,), group (m,) int -> indices of the kept, by group, then by falling score. Overlap is
    intersection over union; `of_smaller`: over the smaller box, with sides that count their last pixel.
    """
    order = np.lexsort((-score, group))
    better, worse = _overlapping(box[order], group[order], threshold, of_smaller)
    kept, unsettled = np.zeros(len(order), bool), np.ones(len(order), bool)
    while unsettled.any():  # each round settles all boxes whose betters are settled
        beaten, lost = np.zeros_like(kept), np.zeros_like(kept)
        beaten[worse] = True
        won = unsettled & ~beaten
        lost[worse[won[better]]] = True
        kept |= won
        unsettled &= ~(won | lost)
        rest = unsettled[better] & unsettled[worse]
        better, worse = better[rest], worse[rest]
    return order[kept]


def _overlapping(
    box: np.ndarray, group: np.ndarray, threshold: float, of_smaller: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs in one group that overlap by more than threshold -> the lower and the higher index (p,).

    Sorted by x, only near neighbours are compared: an overlap above the threshold leaves little room for a shift.
    """
    low, high, extra = box[:, :2], box[:, 2:], np.float32(of_smaller)
    side = high - low + extra
    area = side[:, 0] * side[:, 1]
    room = side * (1 if of_smaller else 1 - threshold) + 1
    key = low[:, 0] + group * (np.ptp(box) + 4.0 if len(box) else 0.0)  # groups side by side, out of reach
    by_x = np.argsort(key, kind="stable")
    reach = np.searchsorted(key[by_x], (key + room[:, 0])[by_x], "right") - np.arange(len(key)) - 1
    pairs = [np.zeros((2, 0), np.int64)]
    for first, second in _windows(np.maximum(reach, 0)):
        i, j = by_x[first], by_x[second]
        near = np.abs(low[i, 1] - low[j, 1]) < np.maximum(room[i, 1], room[j, 1])
        i, j = i[near], j[near]
        common = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]) + extra, 0)
        shared = common[:, 0] * common[:, 1]
        whole = np.minimum(area[i], area[j]) if of_smaller else area[i] + area[j] - shared
        hit = shared / np.maximum(whole, np.float32(1e-9)) > threshold
        pairs.append(np.sort((i[hit], j[hit]), 0))
    better, worse = np.concatenate(pairs, 1)
    return better, worse


def _windows(reach: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each i with i + 1 ... i + reach[i], about _PAIRS pairs at once."""
    ends = np.cumsum(reach)
    cuts = np.searchsorted(ends, np.arange(0, reach.sum(), _PAIRS), "right")
    for start, stop in zip(cuts, [*cuts[1:], len(reach)]):
        count = reach[start:stop]
        i = np.repeat(np.arange(start, stop), count)
        yield i, i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)


# -- cells and boxes, (m, 4) float32 x0, y0, x1, y1 --------------------------------------------------------


def _scales(height: int, width: int, min_face_px: float, factor: float) -> Iterator[float]:
    """Give the scales at which a cell sees min_face_px, then larger faces, until the picture is smaller than a cell."""
    scale = _CELL / min_face_px
    shorter = min(height, width) * scale
    while shorter >= _CELL:
        yield scale
        scale, shorter = scale * factor, shorter * factor


def _tiles(n: int, rows: int, columns: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Cut a level of n pictures into what P-Net sees at once: pictures, first and last + 1 row of cells."""
    cells = (rows - 1) // _STRIDE - 4
    strip = min(cells, max(8, _TILE_PIXELS // columns // _STRIDE))
    step = max(1, _TILE_PIXELS // (rows * columns))
    for frame in range(0, n, step):
        for first in range(0, cells, strip):
            yield np.arange(frame, min(frame + step, n)), first, min(first + strip, cells)


def _cell_box(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Where the P-Net cells at x, y (m,) of a level lie in the picture."""
    corner = _STRIDE * np.stack((x, y), 1).astype(np.float32)
    return np.concatenate((np.floor((corner + 1) / scale), np.floor((corner + _CELL) / scale)), 1)


def _moved(box: np.ndarray, offset: np.ndarray, *, inclusive: bool = True) -> np.ndarray:
    """Move each edge by offset (m, 4), in sides of the box, which count their last pixel if `inclusive`."""
    side = box[:, 2:] - box[:, :2] + np.float32(inclusive)
    return box + offset * np.tile(side, 2)


def _squared(box: np.ndarray) -> np.ndarray:
    """Grow each box about its centre to a square of its longer side."""
    side = box[:, 2:] - box[:, :2]
    longest = side.max(1, keepdims=True, initial=-np.inf)
    corner = box[:, :2] + side * np.float32(0.5) - longest * np.float32(0.5)
    return np.concatenate((corner, corner + longest), 1)
