"""Face alignment is measured on the training images, so that crops from video match them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from typer.testing import CliRunner

from fervid.cli import app
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.crop import crop_face, square_places
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.face_alignment import FER2013_ALIGNMENT, alignment_of, describe_alignment, measure_alignment
from fervid.lab.data.images import main_faces
from fervid.lab.evaluation.evaluate import EvalConfig, evaluate_weights
from fervid.lab.training.data import TrainingData
from fervid.lab.training.recipe import Recipe
from fervid.lab.training.train import train
from tests.helpers.face_sets import some_faces, write_parquet

PORTRAIT = skimage.data.astronaut()
LUMA = PORTRAIT.mean(2).astype(np.uint8)


def jittered_crops(x: float, y: float, side: float, size_px: int, n: int = 60) -> np.ndarray:
    """Images (n, size_px, size_px) of the same face, each slightly shifted, scaled and rotated."""
    dice = np.random.default_rng(5)
    squares = np.array([x, y, side, 0]) + dice.uniform(-1, 1, (n, 4)) * [0.04 * side, 0.04 * side, 0.06 * side, 0.1]
    return np.stack([crop_face(LUMA, place, size_px) for place in square_places(squares)])


@pytest.mark.parametrize(
    ("x", "y", "side", "size_px"), [(224, 120, 100, 48), (224, 120, 100, 200), (230, 110, 170, 48), (200, 130, 170, 96)]
)
def test_crops_from_video_match_the_training_images(x: float, y: float, side: float, size_px: int) -> None:
    alignment, source = measure_alignment(jittered_crops(x, y, side, size_px))
    (face,) = main_faces([PORTRAIT], MTCNN(device="cpu"))
    assert face is not None
    ((found_x, found_y, found_side, angle),) = alignment.squares(face.box_px[None], face.landmarks_px[None])
    assert source.startswith("measured on the faces found in ")
    assert abs(found_x - x) < 0.04 * side and abs(found_y - y) < 0.04 * side
    assert abs(found_side / side - 1) < 0.06 and abs(angle) < 0.1


def test_alignment_falls_back_to_fer2013_and_reports_why() -> None:
    few, none = measure_alignment(jittered_crops(224, 120, 100, 48, 49)), measure_alignment(some_faces(60).image)
    assert few[0] == none[0] == FER2013_ALIGNMENT
    assert few[1] == "that of FER2013; only 49 training images, at least 50 are needed to measure it"
    assert none[1] == "that of FER2013; faces in 0 of 60 training images, at least 50 are needed to measure it"


@pytest.mark.parametrize(
    ("x", "y", "side", "words"),
    [
        (224, 120, 100, None),
        (227, 122, 108, None),
        (224, 120, 80, r"1\.2\d times"),
        (224, 120, 150, r"0\.6\d times"),
        (240, 118, 100, r"1[3-9]% of the side"),
    ],
)
def test_differently_aligned_images_are_detected(x: float, y: float, side: float, words: str | None) -> None:
    known, _ = measure_alignment(jittered_crops(224, 120, 100, 48))
    description = describe_alignment(jittered_crops(x, y, side, 48), known)
    assert description is None if words is None else description is not None and re.search(words, description)
    assert describe_alignment(jittered_crops(x, y, side, 48)[:29], known) is None  # too few images
    assert describe_alignment(some_faces(40).image, known) is None  # no faces


def test_crop_scale_is_part_of_the_alignment() -> None:
    known, _ = measure_alignment(jittered_crops(224, 120, 100, 48))
    assert describe_alignment(jittered_crops(224, 120, 80, 48), replace(known, crop_scale=0.8)) is None


def test_evaluate_reports_differently_aligned_images(tmp_path: Path) -> None:
    faces = replace(some_faces(35), image=jittered_crops(224, 120, 150, 48, 35))
    data = write_parquet(tmp_path / "loose.parquet", faces)
    result = CliRunner().invoke(app, ["evaluate", "--data", str(data), "--weights", "seresnet", "--device", "cpu"])
    assert result.exit_code == 0 and re.search(r"face alignment +faces are 0\.\d\d times as large", result.output)
    assert evaluate_weights(data, None, "seresnet", "cpu", EvalConfig(detect=True))["framed_otherwise"] is None


def test_alignment_is_the_median_relative_to_the_side() -> None:
    box = np.array([[0.0, 0.0, 0.5, 0.5], [0.1, 0.1, 0.9, 0.9], [0.0, 0.0, 0.9, 0.4]])
    landmarks = np.arange(30).reshape(3, 5, 2) / 100
    alignment = alignment_of(box, landmarks)
    assert alignment.box == 0.6 and alignment.crop_scale == 1  # median of 0.5, 0.8, and sqrt(0.36)
    assert alignment.landmarks == ((0.1, 0.11), (0.12, 0.13), (0.14, 0.15), (0.16, 0.17), (0.18, 0.19))


def test_trained_model_stores_its_alignment(tmp_path: Path) -> None:
    faces = replace(some_faces(60), image=jittered_crops(230, 110, 170, 48))
    data, lines = TrainingData.single(faces, some_faces(14, "validation")), []
    recipe = Recipe(arch="basecnn", epochs=1, batch_size=32, vote_weight=0, warmup_epochs=0)
    weights = train(data, tmp_path, recipe, on_epoch=lines.append)
    measured, source = data.alignment
    assert measured.box < 0.7 < FER2013_ALIGNMENT.box
    assert TorchClassifier(str(weights), "cpu").alignment.box == measured.box
    assert json.loads(weights.with_suffix(".json").read_text("utf-8"))["framing_from"] == source
    assert lines[-1] == f"alignment: {source}"
