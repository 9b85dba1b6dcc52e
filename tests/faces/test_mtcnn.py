"""MTCNN finds what facenet-pytorch finds with the same weights; its parts compute what they should."""

import importlib.util
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import skimage
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fervid.errors import ConfigError, MissingDependency
from fervid.faces import mtcnn
from fervid.faces import nms as nms_module
from fervid.faces.detector import Detections
from fervid.faces.integral_image import IntegralImage
from fervid.faces.mtcnn import MTCNN
from fervid.faces.nms import nms
from tests.benchmarks.detection import Reference, match
from tests.helpers.hypothesis_settings import steady
from tests.helpers.portraits import portraits

CPU = torch.device("cpu")
SAMPLES = Path(__file__).parents[2] / "sample_videos"


@pytest.fixture(scope="module")
def detector() -> MTCNN:
    return MTCNN()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Sides that are no multiples of 32."""
    return portraits(270)


def _sample(name: str, *, every: int, n: int) -> np.ndarray:
    with av.open(str(SAMPLES / name)) as container:
        chosen = islice(container.decode(video=0), 0, n * every, every)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in chosen])


def _assert_same_faces(expected: Detections, found: Detections) -> None:
    assert np.bincount(found.frame).tolist() == np.bincount(expected.frame).tolist()
    pairs, overlap = match(expected, found)
    assert len(pairs) == len(expected.frame)
    assert overlap.min() > 0.999
    i, j = pairs.T
    np.testing.assert_allclose(found.score[j], expected.score[i], atol=1e-5)
    np.testing.assert_allclose(found.landmarks_px[j], expected.landmarks_px[i], atol=2e-3)


# -- against facenet-pytorch ------------------------------------------------------------------------------


@pytest.mark.parametrize("min_face_px", [9, 20, 47.5])
def test_finds_what_facenet_pytorch_finds(detector, images, min_face_px):
    expected = Reference(min_face_px).detect(images)
    assert set(expected.frame) == {0, 1, 2, 4}
    _assert_same_faces(expected, detector.detect(images, min_face_px))


@pytest.mark.parametrize("name, faces", [("one_face.mp4", 4), ("two_faces.mp4", 8)])
def test_finds_what_facenet_pytorch_finds_in_video(detector, name, faces):
    images = _sample(name, every=20, n=4)
    expected = Reference(20).detect(images)
    assert len(expected.frame) == faces
    _assert_same_faces(expected, detector.detect(images))


def test_agrees_on_weak_candidates():
    """Low thresholds pass hundreds of weak candidates, most of them near a border or on top of each other."""
    image = skimage.data.coffee()[None, ::2, ::2]
    reference = Reference(20)
    reference._net.thresholds = [0.2, 0.05, 0.005]
    expected = reference.detect(image)
    assert len(expected.frame) > 5
    _assert_same_faces(expected, MTCNN(thresholds=(0.2, 0.05, 0.005)).detect(image))


def test_agrees_on_a_fine_pyramid(images):
    """Neighbouring scales overlap enough to suppress each other's boxes only if the pyramid is finer than usual."""
    reference = Reference(30)
    reference._net.factor = 0.9
    _assert_same_faces(reference.detect(images), MTCNN(factor=0.9).detect(images, 30))


def test_passes_and_tiles_make_no_difference(detector, images, monkeypatch):
    expected = vars(detector.detect(images))
    monkeypatch.setattr(mtcnn, "_PASS_PIXELS", 2 * 270 * 480)
    monkeypatch.setattr(mtcnn, "_TILE_PIXELS", 3000)
    monkeypatch.setattr(nms_module, "_PAIRS", 7)
    for name, values in vars(detector.detect(images)).items():
        np.testing.assert_array_equal(values, expected[name], strict=True)


def test_noise_with_thousands_of_candidates():
    """Many chunks: no crash, and all numbers are finite."""
    grey = np.random.default_rng(5).integers(0, 256, (2, 120, 160, 1), np.uint8)
    found = MTCNN(thresholds=(0.01, 0.01, 0.01)).detect(np.repeat(grey, 3, 3))
    assert len(found.frame) > 0
    assert np.isfinite(found.box_px).all() and np.isfinite(found.landmarks_px).all()


# -- invalid options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"thresholds": (0.6, 0.7)}, {"thresholds": (0.6, 0.7, 1.0)}, {"factor": 1.0}])
def test_rejects_impossible_options(options):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        MTCNN(**options)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="pip install facenet-pytorch"):
        MTCNN()


# -- the parts --------------------------------------------------------------------------------------------


@st.composite
def _crops(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Images, three boxes in them, and a size that is larger or smaller than the boxes."""
    height, width = draw(st.integers(1, 130)), draw(st.integers(1, 170))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (2, height, width, 3), np.uint8)
    images = np.maximum(noise, draw(st.sampled_from([0, 255])))  # all white: the largest sums
    xs = draw(st.lists(st.integers(0, width), min_size=6, max_size=6, unique=False))
    ys = draw(st.lists(st.integers(0, height), min_size=6, max_size=6, unique=False))
    box = np.array([[*_range(xs[i : i + 2], width), *_range(ys[i : i + 2], height)] for i in (0, 2, 4)])[
        :, [0, 2, 1, 3]
    ]
    return images, np.array([0, 1, 1]), box, (draw(st.integers(1, 50)), draw(st.integers(1, 50)))


def _range(ends: list[int], limit: int) -> tuple[int, int]:
    low = min(*ends, limit - 1)
    return low, max(*ends, low + 1)


@steady
@given(_crops())
def test_a_crop_is_an_area_interpolation(case):
    images, frame, box, size = case
    crop = IntegralImage(images, CPU).crop(frame, box, size)
    assert not crop[:, 3].any()
    for got, i, (x0, y0, x1, y1) in zip(crop, frame, box):
        part = torch.from_numpy(images[i, y0:y1, x0:x1]).permute(2, 0, 1)[None].float().contiguous()
        assert torch.equal(got[:3], F.interpolate(part, size=size, mode="area")[0])


def test_an_area_mean_by_hand():
    image = np.zeros((1, 3, 4, 3), np.uint8)
    image[0, ..., 1] = [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90, 100, 110]]
    crop = IntegralImage(image, CPU).crop(np.array([0]), np.array([[0, 0, 3, 2]]), (1, 2))
    assert crop[0, 1].tolist() == [[25.0, 35.0]]  # columns 0 and 1, then 1 and 2, of the upper two rows


@pytest.mark.parametrize("height, width", [(1, 257), (257, 1), (2, 129), (13, 20), (16, 16), (1, 258), (260, 300)])
def test_white_stays_white(height, width):
    """The largest sums that a table entry can hold, and the first that it cannot."""
    crop = IntegralImage(np.full((1, height, width, 3), 255, np.uint8), CPU).crop(
        np.array([0]), np.array([[0, 0, width, height]]), (1, 1)
    )
    assert crop.flatten().tolist() == [255, 255, 255, 0]


def _greedy(box: np.ndarray, score: np.ndarray, group: np.ndarray, threshold: float, of_smaller: bool) -> Iterator[int]:
    """Greedy suppression by definition, one box after the other."""
    kept: list[int] = []
    size = box[:, 2:] - box[:, :2] + of_smaller
    for i in np.lexsort((-score, group)):
        for j in kept:
            low, high = np.maximum(box[i, :2], box[j, :2]), np.minimum(box[i, 2:], box[j, 2:])
            shared = np.clip(high - low + of_smaller, 0, None).prod()
            one, other = size[i].prod(), size[j].prod()
            whole = min(one, other) if of_smaller else one + other - shared
            if group[i] == group[j] and shared > threshold * whole:
                break
        else:
            kept.append(i)
            yield i


@steady
@given(st.integers(0, 9999), st.integers(0, 60), st.sampled_from([0.3, 0.5, 0.75]), st.booleans())
def test_nms_is_the_greedy_loop(seed, n, threshold, of_smaller):
    random = np.random.default_rng(seed)
    corner = random.integers(-20, 40, (n, 2))
    box = np.concatenate((corner, corner + random.integers(1, 40, (n, 2))), 1).astype(np.float32)
    score, group = random.permutation(n).astype(np.float32), random.integers(0, 3, n)
    expected = list(_greedy(box.astype(np.float64), score, group, threshold, of_smaller))
    assert nms(box, score, group, threshold, of_smaller=of_smaller).tolist() == expected


def test_of_equal_scores_the_first_is_kept():
    box = np.array([[0, 0, 9, 9], [1, 0, 10, 9], [50, 0, 59, 9]], np.float32)
    assert nms(box, np.ones(3, np.float32), np.zeros(3, np.int64), 0.5).tolist() == [0, 2]
