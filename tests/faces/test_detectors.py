"""One contract for every detector: what batches, pictures and threads may expect of it. What each finds is its own."""

import numpy as np
import pytest
import torch

from fervid.errors import ConfigError, DeviceError
from fervid.faces.centerface import CenterFace
from fervid.faces.detector import Detections, FaceDetector
from fervid.faces.detectors import load_detector
from fervid.faces.mtcnn import MTCNN
from tests.helpers.portraits import portraits

COLUMNS = ("frame", "box_px", "score", "landmarks_px")


@pytest.fixture(scope="module", params=["mtcnn", "centerface"])
def detector(request) -> FaceDetector:
    return load_detector(request.param, "cpu", "fp32")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return portraits()


def _assert_equal(one: Detections, other: Detections) -> None:
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


# -- batches ----------------------------------------------------------------------------------------------


def _one_by_one(detector: FaceDetector, picture: np.ndarray) -> Detections:
    parts = [(i, detector.detect(picture[i : i + 1], 20)) for i in range(len(picture))]
    return Detections(
        np.concatenate([part.frame + i for i, part in parts]),
        *(np.concatenate([getattr(part, name) for _, part in parts]) for name in COLUMNS[1:]),
    )


def test_the_batch_makes_no_difference(detector, picture):
    found = detector.detect(picture, 20)
    assert len(found) >= 5
    _assert_equal(found, _one_by_one(detector, picture))


@pytest.mark.parametrize("at_once", [1, 3])
def test_how_many_centerface_sees_at_once_makes_no_difference(picture, at_once, monkeypatch):
    detector = CenterFace(precision="fp32")
    alone = _one_by_one(detector, picture)
    monkeypatch.setattr(detector, "_at_once", at_once)  # on a GPU there are several
    _assert_equal(detector.detect(picture, 20), alone)


def test_faces_come_in_order(detector, picture):
    found = detector.detect(picture[::-1], 20)
    assert (np.diff(found.frame) >= 0).all()
    for frame in set(found.frame):
        assert (np.diff(found.score[found.frame == frame]) <= 0).all()


def test_leaves_the_pictures_and_the_threads_alone(detector, picture):
    before, threads = picture.copy(), torch.get_num_threads()
    detector.detect(picture, 20)
    assert (picture == before).all() and torch.get_num_threads() == threads


# -- pictures without faces, and what is no picture -------------------------------------------------------


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
    "picture, min_face_px",
    [
        (np.zeros((90, 120, 3), np.uint8), 20),
        (np.zeros((1, 90, 120, 4), np.uint8), 20),
        (np.zeros((1, 90, 120, 3), np.float32), 20),
        (np.zeros((1, 90, 120, 3), np.uint8), 0),
        (np.zeros((1, 90, 120, 3), np.uint8), float("nan")),
    ],
)
def test_rejects_what_is_no_picture(detector, picture, min_face_px):
    with pytest.raises(ValueError, match="expected picture uint8"):
        detector.detect(picture, min_face_px)


# -- what cannot work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MTCNN, CenterFace])
def test_rejects_an_unknown_device(kind):
    with pytest.raises(DeviceError):
        kind(device="abacus")


def test_rejects_an_unknown_name():
    with pytest.raises(ConfigError, match="mtcnn, centerface"):
        load_detector("retina", "cpu", "auto")
