"""MTCNN on one torch device: the networks and the results of faces/mtcnn.py, for a GPU.

faces/mtcnn.py is made for a CPU: tables in the cache, small chunks, NumPy between the networks. Here every step is one
operation over a whole batch of images, and the host waits for the device only once per network, since each time all
work has to finish first. This code runs on a CPU too, where tests/cuda/test_cuda_pipeline.py compares it with
faces/mtcnn.py.
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
from fervid.faces.mtcnn_boxes import (
    FACTOR,
    THRESHOLDS,
    cell_boxes,
    move_edges,
    pixel_boxes,
    place_landmarks,
    pyramid_scales,
    to_squares,
)
from fervid.faces.mtcnn_networks import Weights, load_network, onet, pnet, rnet
from fervid.runtime.cuda_graphs import CUDAGraphModule
from fervid.runtime.device import deterministic_fp32
from fervid.video.readers.tensor_resize import TensorIntegralImage

__all__ = ["DeviceMTCNN"]

#: Input of R-Net and O-Net: side of a crop, crops per chunk on a GPU and on a CPU.
_REFINE, _FINISH = (24, 1024, 32), (48, 256, 16)
#: Image sizes for which the positions of the cells are kept: a core computes them in some milliseconds.
_SIZES = 4


@dataclass(frozen=True)
class _Candidates:
    """m squares between two stages: frame (m,) int64, box (m, 4) float32, score (m,) float32."""

    frame: Tensor
    box: Tensor
    score: Tensor

    def take(self, kept: Tensor) -> "_Candidates":
        return _Candidates(self.frame[kept], self.box[kept], self.score[kept])


@dataclass(frozen=True)
class _Stage:
    """R-Net or O-Net: its number of outputs, of which the first is the logit of a face, and the score to pass it."""

    net: CUDAGraphModule
    outputs: int
    threshold: float


class DeviceMTCNN:
    """Finds faces in images on its device. One thread searches at a time; others wait.

    On a GPU, R-Net and O-Net are recorded as CUDA graphs.

    Parameters
    ----------
    device : str
        A torch device.
    thresholds : sequence of float
        Scores to pass P-, R- and O-Net.
    factor : float
        Scale from one level of the image pyramid to the next.

    Raises
    ------
    MissingDependency
        If facenet-pytorch is not installed.
    """

    name = "mtcnn"

    def __init__(self, device: str, *, thresholds: Sequence[float] = THRESHOLDS, factor: float = FACTOR) -> None:
        self.device, self._factor = torch.device(device), factor
        self._min_logit = math.log(thresholds[0] / (1 - thresholds[0]))
        self._lock = threading.Lock()
        self._cells = lru_cache(_SIZES)(partial(_locate_cells, device=self.device))
        self._pnet = load_network("pnet", self.device)
        self._rnet = self._record("rnet", rnet, _REFINE, thresholds[1])
        self._onet = self._record("onet", onet, _FINISH, thresholds[2])

    def _record(
        self, name: str, net: Callable[[Tensor, Weights], Tensor], shape: tuple[int, int, int], threshold: float
    ) -> _Stage:
        side, on_gpu, on_cpu = shape
        weights = {k: w.to_dense() if w.is_mkldnn else w for k, w in load_network(name, self.device).items()}
        example = torch.zeros((on_gpu if self.device.type == "cuda" else on_cpu, 4, side, side), device=self.device)
        with deterministic_fp32():
            recorded = CUDAGraphModule(
                lambda crops: net(crops, weights), example.contiguous(memory_format=torch.channels_last)
            )
        return _Stage(recorded, len(weights["head.bias"]), threshold)

    def detect(self, images: Tensor, min_face_px: float) -> Detections:
        """Find all faces, as `faces.mtcnn.MTCNN.detect` does.

        Parameters
        ----------
        images : Tensor, shape (n, h, w, 3), uint8
            RGB, on the device; n may be 0.
        min_face_px : float
            Approximate size of the smallest face to find.

        Returns
        -------
        Detections
        """
        n, height, width, _ = images.shape
        scales = list(pyramid_scales(height, width, min_face_px, self._factor))
        if not n or not scales:
            return _to_detections(*(torch.zeros(shape) for shape in ((0,), (0, 4), (0,), (0, 5, 2))))
        with self._lock, deterministic_fp32(), torch.inference_mode():
            table = TensorIntegralImage(images)
            faces = self._refine(table, self._propose(table, scales))
            return _to_detections(*self._finish(table, faces))

    def _propose(self, table: TensorIntegralImage, scales: list[float]) -> _Candidates:
        """Run P-Net on the image pyramid: find every square that may hold a face."""
        outputs, levels = [], []
        for scale in scales:
            logits, feature = pnet(table.level(int(table.height * scale + 1), int(table.width * scale + 1)), self._pnet)
            offset = feature @ self._pnet["head.weight"][1:].mT + self._pnet["head.bias"][1:]
            outputs.append(torch.cat((logits[..., None], offset), 3).flatten(1, 2))
            levels.append((logits.shape[1], logits.shape[2], scale))
        output = torch.cat(outputs, 1)
        frame, cell = torch.nonzero(output[..., 0] >= self._min_logit, as_tuple=True)
        box, group = (column[cell] for column in self._cells(tuple(levels)))
        found = output[frame, cell]
        score = torch.sigmoid(found[:, 0])
        kept = nms(box, score, frame, 0.5, group=group)
        kept = kept[nms(box[kept], score[kept], frame[kept], 0.7)]
        square = to_squares(move_edges(box[kept], found[kept, 1:], inclusive=False))
        return _Candidates(frame[kept], square, score[kept])

    def _refine(self, table: TensorIntegralImage, faces: _Candidates) -> _Candidates:
        """Run R-Net: drop most candidates, and give the others a better box, extended to a square."""
        faces, out = _run(self._rnet, table, faces)
        kept = nms(faces.box, faces.score, faces.frame, 0.7)
        faces = faces.take(kept)
        return _Candidates(faces.frame, to_squares(move_edges(faces.box, out[kept, :4])), faces.score)

    def _finish(self, table: TensorIntegralImage, faces: _Candidates) -> tuple[Tensor, ...]:
        """Run O-Net, which decides and locates the landmarks; return the columns of Detections."""
        faces, out = _run(self._onet, table, faces)
        box, landmarks = move_edges(faces.box, out[:, :4]), place_landmarks(faces.box, out[:, 4:])
        kept = nms(box, faces.score, faces.frame, 0.7, of_smaller=True)
        return faces.frame[kept], box[kept], faces.score[kept], landmarks[kept]


def _run(stage: _Stage, table: TensorIntegralImage, faces: _Candidates) -> tuple[_Candidates, Tensor]:
    """Run a network on the candidates -> those that pass, and its other outputs (m, ...) for them.

    Candidates that lie outside their image are dropped. The last chunk is filled up with the first candidate.
    """
    chunk, _, side, _ = stage.net.shape
    box = pixel_boxes(faces.box, width=table.width, height=table.height)
    inside = torch.nonzero((box[:, :2] < box[:, 2:]).all(1))[:, 0]
    faces, box = faces.take(inside), box[inside]
    n = len(inside)
    filled = torch.arange(n + -n % chunk, device=box.device)
    filled[n:] = 0
    outs = [faces.box.new_zeros((0, stage.outputs))]
    for start in range(0, n, chunk):
        some = filled[start : start + chunk]
        outs.append(stage.net(table.crop(faces.frame[some], box[some], side)))
    out = torch.cat(outs)[:n]
    score = torch.sigmoid(out[:, 0])
    passed = torch.nonzero(score > stage.threshold)[:, 0]
    return _Candidates(faces.frame[passed], faces.box[passed], score[passed]), out[passed, 1:]


def _locate_cells(levels: tuple[tuple[int, int, float], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Locate P-Net's cells in the image, level by level and row by row: box (c, 4), level (c,).

    levels: rows, columns and scale of each. The CPU computes them, so that boxes are those of faces/mtcnn.py.
    """
    box = []
    for rows, columns, scale in levels:
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        box.append(cell_boxes(x.flatten(), y.flatten(), scale))
    level = torch.arange(len(box)).repeat_interleave(torch.tensor([len(cells) for cells in box]))
    return torch.cat(box).to(device), level.to(device)


def _to_detections(frame: Tensor, box: Tensor, score: Tensor, landmarks: Tensor) -> Detections:
    """Copy the columns to the host."""
    columns = (frame.long(), box, score, landmarks)
    return Detections(*(column.cpu().numpy() for column in columns))
