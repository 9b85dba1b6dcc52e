"""MTCNN where everything stays on one torch device: the networks and the results of mtcnn.py, for a GPU.

mtcnn.py is made for a CPU: tables in the cache, small chunks, NumPy between the networks. Here every step is one
operation over a whole batch of pictures, with as few questions to the device as there are networks: each waits for all
the work before it. This code runs on a CPU too, where tests/cuda/test_cuda_line.py
compares it with faces/mtcnn.py.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from fervid.cuda.boxes import nms
from fervid.faces.detector import Detections
from fervid.faces.mtcnn_networks import (
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
from fervid.runtime.cuda_graphs import CUDAGraphModule
from fervid.runtime.device import deterministic_fp32
from fervid.video.readers.tensor_resize import TensorIntegralImage

__all__ = ["DeviceMTCNN"]

#: R-Net's and O-Net's input: side of a crop, and crops in a chunk on a GPU and on a CPU.
_REFINE, _FINISH = (24, 1024, 32), (48, 256, 16)
#: Sizes of pictures for which is kept where the cells lie: to work that out costs a core some milliseconds.
_SIZES = 4
_THRESHOLDS, _FACTOR = (0.6, 0.7, 0.7), 0.709


@dataclass(frozen=True)
class _Faces:
    """m squares on their way: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: Tensor
    box: Tensor
    score: Tensor

    def take(self, kept: Tensor) -> "_Faces":
        return _Faces(self.frame[kept], self.box[kept], self.score[kept])


@dataclass(frozen=True)
class _Judge:
    """R-Net or O-Net: a score above `threshold` passes; so many `outputs`, the score's logit first."""

    net: CUDAGraphModule
    outputs: int
    threshold: float


class DeviceMTCNN:
    """Finds faces in pictures that lie on its device. One search at a time; other threads wait for their turn."""

    name = "mtcnn"

    def __init__(self, device: str, *, thresholds: Sequence[float] = _THRESHOLDS, factor: float = _FACTOR) -> None:
        """Load the networks and, on a GPU, record R- and O-Net as CUDA graphs. MissingDependency without weights."""
        self.device, self._factor = torch.device(device), factor
        self._least = math.log(thresholds[0] / (1 - thresholds[0]))
        self._turn = threading.Lock()
        self._cells = lru_cache(_SIZES)(partial(_cells_of, device=self.device))
        self._pnet = load_net("pnet", self.device)
        self._rnet = self._judge("rnet", rnet, _REFINE, thresholds[1])
        self._onet = self._judge("onet", onet, _FINISH, thresholds[2])

    def _judge(
        self, name: str, net: Callable[[Tensor, Weights], Tensor], shape: tuple[int, int, int], threshold: float
    ) -> _Judge:
        side, on_gpu, on_cpu = shape
        weights = {k: w.to_dense() if w.is_mkldnn else w for k, w in load_net(name, self.device).items()}
        example = torch.zeros((on_gpu if self.device.type == "cuda" else on_cpu, 4, side, side), device=self.device)
        with deterministic_fp32():
            recorded = CUDAGraphModule(
                lambda crops: net(crops, weights), example.contiguous(memory_format=torch.channels_last)
            )
        return _Judge(recorded, len(weights["head.bias"]), threshold)

    def detect(self, picture: Tensor, min_face_px: float) -> Detections:
        """Find the faces of at least about min_face_px in pictures (n, h, w, 3) uint8 RGB, as MTCNN.detect does."""
        n, height, width, _ = picture.shape
        scales = list(scales_of(height, width, min_face_px, self._factor))
        if not n or not scales:
            return _on_host(*(torch.zeros(shape) for shape in ((0,), (0, 4), (0,), (0, 5, 2))))
        with self._turn, deterministic_fp32(), torch.inference_mode():
            areas = TensorIntegralImage(picture)
            faces = self._refine(areas, self._propose(areas, scales))
            return _on_host(*self._finish(areas, faces))

    def _propose(self, areas: TensorIntegralImage, scales: list[float]) -> _Faces:
        """P-Net over the pyramid: every square that may hold a face."""
        seen, levels = [], []
        for scale in scales:
            logits, feature = pnet(areas.level(int(areas.height * scale + 1), int(areas.width * scale + 1)), self._pnet)
            offset = feature @ self._pnet["head.weight"][1:].mT + self._pnet["head.bias"][1:]
            seen.append(torch.cat((logits[..., None], offset), 3).flatten(1, 2))
            levels.append((logits.shape[1], logits.shape[2], scale))
        every = torch.cat(seen, 1)
        frame, cell = torch.nonzero(every[..., 0] >= self._least, as_tuple=True)
        where, group = (column[cell] for column in self._cells(tuple(levels)))
        found = every[frame, cell]
        score = torch.sigmoid(found[:, 0])
        kept = nms(where, score, frame, 0.5, group=group)
        kept = kept[nms(where[kept], score[kept], frame[kept], 0.7)]
        square = squared(moved(where[kept], found[kept, 1:], inclusive=False))
        return _Faces(frame[kept], square, score[kept])

    def _refine(self, areas: TensorIntegralImage, faces: _Faces) -> _Faces:
        """R-Net: most candidates go, the others get a better box, made square again."""
        faces, out = _shown(self._rnet, areas, faces)
        kept = nms(faces.box, faces.score, faces.frame, 0.7)
        faces = faces.take(kept)
        return _Faces(faces.frame, squared(moved(faces.box, out[kept, :4])), faces.score)

    def _finish(self, areas: TensorIntegralImage, faces: _Faces) -> tuple[Tensor, ...]:
        """O-Net: the last word, with landmarks. Gives the columns of Detections."""
        faces, out = _shown(self._onet, areas, faces)
        box, place = moved(faces.box, out[:, :4]), landmarks(faces.box, out[:, 4:])
        kept = nms(box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], box[kept], faces.score[kept], place[kept]


def _shown(judge: _Judge, areas: TensorIntegralImage, faces: _Faces) -> tuple[_Faces, Tensor]:
    """Show the candidates to a network -> those that pass, and its other outputs (m, ...) for them.

    A candidate that lies outside its picture is dropped. The last chunk is filled up with the first candidate.
    """
    chunk, _, side, _ = judge.net.shape
    inner = faces.box.trunc().long()
    low = (inner[:, :2] - 1).clamp(min=0)
    high = torch.minimum(inner[:, 2:], inner.new_tensor((areas.width, areas.height)))
    inside = torch.nonzero((low < high).all(1))[:, 0]
    faces, inner = faces.take(inside), torch.cat((low, high), 1)[inside]
    n = len(inside)
    filled = torch.arange(n + -n % chunk, device=inner.device)
    filled[n:] = 0
    outs = [faces.box.new_zeros((0, judge.outputs))]
    for start in range(0, n, chunk):
        some = filled[start : start + chunk]
        outs.append(judge.net(areas.crop(faces.frame[some], inner[some], side)))
    out = torch.cat(outs)[:n]
    score = torch.sigmoid(out[:, 0])
    passed = torch.nonzero(score > judge.threshold)[:, 0]
    return _Faces(faces.frame[passed], faces.box[passed], score[passed]), out[passed, 1:]


def _cells_of(levels: tuple[tuple[int, int, float], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Where P-Net's cells lie in the picture, level by level, row by row: box (c, 4), level (c,).

    levels: rows, columns and scale of each. Worked out on the CPU, so that boxes are those of mtcnn.py.
    """
    box = []
    for rows, columns, scale in levels:
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        box.append(cell_box(x.flatten(), y.flatten(), scale))
    level = torch.arange(len(box)).repeat_interleave(torch.tensor([len(cells) for cells in box]))
    return torch.cat(box).to(device), level.to(device)


def _on_host(frame: Tensor, box: Tensor, score: Tensor, place: Tensor) -> Detections:
    columns = (frame.long(), box, score, place)
    return Detections(*(column.cpu().numpy() for column in columns))
