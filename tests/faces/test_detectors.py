"""The contract of every detector for batches, images and threads. What each one finds is tested in its own file."""

import numpy as np
import pytest
import torch

from fervid.errors import ConfigError, DeviceError
from fervid.faces.centerface import CenterFace
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.detectors import load_detector
from fervid.faces.mtcnn import MTCNN
from fervid.registry import DETECTORS

COLUMNS = ("frame", "box_px", "score", "landmarks_px")


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request) -> FaceDetector:
    return load_detector(request.param, "cpu", "fp32")


def _assert_equal(one: Detections, other: Detections) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


# -- batches ----------------------------------------------------------------------------------------------


def _one_by_one(detector: FaceDetector, images: np.ndarray) -> Detections:
    parts = [(i, detector.detect(images[i : i + 1], 20)) for i in range(len(images))]
    return Detections(
        np.concatenate([part.frame + i for i, part in parts]),
        *(np.concatenate([getattr(part, name) for _, part in parts]) for name in COLUMNS[1:]),
    )


def test_the_batch_makes_no_difference(detector, images):
    found = detector.detect(images, 20)
    assert len(found) >= 5
    _assert_equal(found, _one_by_one(detector, images))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_of_centerface_makes_no_difference(images, batch_size, monkeypatch):
    detector = CenterFace(precision="fp32")
    alone = _one_by_one(detector, images)
    monkeypatch.setattr(detector, "_batch_size", batch_size)  # on a GPU it is larger
    _assert_equal(detector.detect(images, 20), alone)


def test_faces_are_sorted_by_image_and_score(detector, images):
    found = detector.detect(images[::-1], 20)
    assert (np.diff(found.frame) >= 0).all()
    for frame in set(found.frame):
        assert (np.diff(found.score[found.frame == frame]) <= 0).all()


def test_one_row_per_expected_face_in_their_order(detector, images):
    expected = detector.detect(images, 20)
    order = np.arange(len(expected))[::-1]
    found, confirmed = detector.confirm(list(images), expected.frame[order], expected.box_px[order])
    assert confirmed.dtype == bool and confirmed.shape == (len(order),) and confirmed.any()
    np.testing.assert_array_equal(found.frame, expected.frame[order], strict=True)
    for name in COLUMNS[1:]:
        one, other = getattr(found, name), getattr(expected, name)
        assert one.shape == other.shape and one.dtype == other.dtype


def test_images_and_number_of_threads_are_unchanged(detector, images):
    before, threads = images.copy(), torch.get_num_threads()
    detector.detect(images, 20)
    assert (images == before).all() and torch.get_num_threads() == threads


# -- images without faces, and invalid images -------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        (0, 90, 120),
        (2, 90, 120),
        (1, 1, 640),
        (1, 640, 1),
        (1, 11, 11),
        (1, 20, 20),
        (1, 33, 65),
        (1, 0, 0),
        (2, 0, 50),
    ],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("grey", [0, 80, 255])
def test_nothing_to_find(detector, shape, grey):
    found = detector.detect(np.full((*shape, 3), grey, np.uint8), 20)
    assert found.frame.shape == (0,) and found.frame.dtype == np.int64
    assert found.box_px.shape == (0, 4) and found.box_px.dtype == np.float32
    assert found.score.shape == (0,) and found.score.dtype == np.float32
    assert found.landmarks_px.shape == (0, 5, 2) and found.landmarks_px.dtype == np.float32


@pytest.mark.parametrize(
    "images, min_face_px",
    [
        (np.zeros((90, 120, 3), np.uint8), 20),
        (np.zeros((1, 90, 120, 4), np.uint8), 20),
        (np.zeros((1, 90, 120, 3), np.float32), 20),
        (np.zeros((1, 90, 120, 3), np.uint8), 0),
        (np.zeros((1, 90, 120, 3), np.uint8), float("nan")),
    ],
)
def test_rejects_invalid_images(detector, images, min_face_px):
    with pytest.raises(ValueError, match="expected images uint8"):
        detector.detect(images, min_face_px)


# -- invalid options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MTCNN, CenterFace])
def test_rejects_an_unknown_device(kind):
    with pytest.raises(DeviceError):
        kind(device="abacus")


def test_rejects_an_unknown_name():
    with pytest.raises(ConfigError, match="mtcnn, centerface"):
        load_detector("retina", "cpu", "auto")
