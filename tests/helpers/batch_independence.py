"""Compare results across batches of different composition, for every network of the pipeline.

`python -m tests.helpers.batch_independence` prints, as JSON, how many results differ per subject. The environment AVX2
makes torch, OpenVINO and NumPy's BLAS compute as on a CPU without AVX-512, where the last bits depend more on shapes.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.helpers.fakes import AFFINE
from tests.helpers.portraits import portraits

__all__ = ["AVX2", "SUBJECTS", "differences"]

AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
#: Computes the results of some of the items, by index: one row of bytes per item.
Compute = Callable[[np.ndarray], list[bytes]]
#: Thresholds so low that hundreds of candidates pass.
_LOW = (0.2, 0.05, 0.005)


def differences(subject: str) -> int:
    """Count the results that differ between one batch of all items and batches of some of them."""
    n, compute = SUBJECTS[subject]()
    expected = compute(np.arange(n))
    assert len(expected) == n and any(expected)
    found = ((i, one) for group in _groupings(n) for i, one in zip(group, compute(group), strict=True))
    return sum(one != expected[i] for i, one in found)


def _groupings(n: int) -> Iterator[np.ndarray]:
    """All items in reverse order, two, three, and single ones, so that items get several positions in a batch."""
    order = np.random.default_rng(0).permutation(n)
    groups = [order[::-1], order[:2], order[-3:], *order[: 5 if n <= 5 else 1, None]]
    yield from {group.tobytes(): group for group in groups}.values()


def _by_frame(found: Any, n: int) -> list[bytes]:
    """Detections -> the bytes of each of n images."""
    columns = (found.box_px, found.score, found.landmarks_px)
    return [b"".join(column[found.frame == i].tobytes() for column in columns) for i in range(n)]


def _detect(detector: Any) -> tuple[int, Compute]:
    images = portraits()
    return len(images), lambda some: _by_frame(detector.detect(images[some], 20), len(some))


def _confirm(detector: Any) -> tuple[int, Compute]:
    images = portraits()
    found = detector.detect(images, 20)
    box = np.concatenate([found.box_px + np.float32(shift) for shift in (0, 3, -5)])
    frame = np.tile(found.frame, 3)

    def compute(some: np.ndarray) -> list[bytes]:
        confirmed, _ = detector.confirm(list(images), frame[some], box[some])
        columns = (confirmed.box_px, confirmed.score, confirmed.landmarks_px)
        return [b"".join(column[i].tobytes() for column in columns) for i in range(len(some))]

    return len(box), compute


def _near(detector: Any) -> tuple[int, Compute]:
    images = portraits()
    found = detector.detect(images, 20)

    def compute(some: np.ndarray) -> list[bytes]:
        seen = [images[i] for i in found.frame[some]]
        return _by_frame(
            detector.detect_near(seen, np.arange(len(some)), found.box_px[some] + np.float32(2)), len(some)
        )

    return len(found), compute


def _rows(n: int, compute: Callable[[np.ndarray], np.ndarray], *shape: int) -> tuple[int, Compute]:
    """A function of n random grey crops of this shape."""
    crops = np.random.default_rng(1).integers(0, 256, (n, *shape), np.uint8)
    return n, lambda some: [row.tobytes() for row in compute(crops[some])]


def _mtcnn(**options: Any) -> Any:
    from fervid.faces.mtcnn import MTCNN

    return MTCNN(**options)


def _centerface() -> Any:
    from fervid.faces.centerface import CenterFace

    return CenterFace(precision="fp32")


def _centerface_network() -> tuple[int, Compute]:
    from fervid.faces.centerface_network import OpenVinoNetwork

    images, net = portraits(), OpenVinoNetwork("fp32")
    return len(images), lambda some: [maps.tobytes() for maps in net(images[some])]


def _classifier() -> tuple[int, Compute]:
    from fervid.emotions.torch_classifier import TorchClassifier

    net = TorchClassifier("seresnet", "cpu", precision="fp32")
    shape = net.crop_px, net.crop_px, net.channels
    return _rows(34, lambda crop: np.concatenate([net.logits(crop), net.predict(crop)], 1), *shape)


def _dlib() -> tuple[int, Compute]:
    from fervid.tracks.dlib_embedder import DlibFaces

    net = DlibFaces("cpu")
    return _rows(9, net.embed, net.recognition_px, net.recognition_px)


def _facenet() -> tuple[int, Compute]:
    """FaceNet with untrained weights."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    from fervid.tracks.facenet_embedder import FaceNet

    torch.manual_seed(0)
    net: Any = FaceNet.__new__(FaceNet)
    net.device, net._net = "cpu", InceptionResnetV1(pretrained=None).eval()
    return _rows(2, net.embed, net.recognition_px, net.recognition_px)


def _faces() -> tuple[np.ndarray, np.ndarray]:
    """200 random boxes with landmarks inside."""
    random = np.random.default_rng(2)
    low, side = random.uniform(0, 600, (200, 2)), random.uniform(20, 200, (200, 2))
    marks = low[:, None] + side[:, None] * random.uniform(0, 1, (200, 5, 2))
    return np.concatenate([low, low + side], 1).astype(np.float32), marks.astype(np.float32)


def _places() -> tuple[int, Compute]:
    from fervid.tracks.dlib_embedder import DlibFaces

    box, marks = _faces()
    alignments = DlibFaces.alignment, AFFINE
    return len(box), lambda some: [
        b"".join(one.tobytes() for one in pair) for pair in zip(*(a.places(box[some], marks[some]) for a in alignments))
    ]


def _quality() -> tuple[int, Compute]:
    from fervid.faces.quality import quality

    box, marks = _faces()
    score = np.random.default_rng(3).uniform(0.7, 1, len(box)).astype(np.float32)
    crop = np.random.default_rng(4).integers(0, 256, (len(box), 80, 80, 3), np.uint8)
    return len(box), lambda some: [one.tobytes() for one in quality(box[some], score[some], marks[some], crop[some])]


SUBJECTS: dict[str, Callable[[], tuple[int, Compute]]] = {
    "mtcnn": lambda: _detect(_mtcnn()),
    "mtcnn, many candidates": lambda: _detect(_mtcnn(thresholds=_LOW)),
    "mtcnn confirms": lambda: _confirm(_mtcnn()),
    "mtcnn nearby": lambda: _near(_mtcnn()),
    "centerface": lambda: _detect(_centerface()),
    "centerface confirms": lambda: _confirm(_centerface()),
    "centerface's network": _centerface_network,
    "classifier": _classifier,
    "dlib": _dlib,
    "facenet": _facenet,
    "places": _places,
    "quality": _quality,
}


if __name__ == "__main__":
    print(json.dumps({subject: differences(subject) for subject in SUBJECTS}))
