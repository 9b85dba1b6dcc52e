"""Faces are placed by their landmarks, in training and in evaluation as in the line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from fervid.cli import app
from fervid.errors import ConfigError
from fervid.faces.crop import FaceAlignment, crop_face, square_places
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data import landmarks
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.data.face_alignment import RAFDB_ALIGNMENT
from fervid.lab.data.images import whole
from fervid.lab.data.landmarks import align_faces, crop_faces, find_landmarks
from fervid.lab.evaluation.evaluate import EvalConfig, evaluate_faces, evaluate_weights
from fervid.lab.training.data import DataSource
from fervid.lab.training.recipe import Recipe
from tests.helpers.face_sets import encoded, some_faces, write_parquet

PORTRAIT = skimage.data.astronaut()


def faces_at(x: float, y: float, side: float, size_px: int = 64, n: int = 24, by: float = 1.0) -> FaceSet:
    """Images in colour of the same face, each slightly shifted, scaled and rotated, `by` times as much as usual."""
    dice = np.random.default_rng(3)
    squares = np.array([x, y, side, 0]) + by * dice.uniform(-1, 1, (n, 4)) * [
        0.05 * side,
        0.05 * side,
        0.06 * side,
        0.2,
    ]
    image = np.stack([crop_face(PORTRAIT, place, size_px) for place in square_places(squares)])
    return FaceSet("astronauts", FER2013, image, np.arange(n) % 7)


@pytest.fixture(scope="module")
def loose() -> FaceSet:
    return faces_at(224, 120, 130)


def three(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0, :], points[..., 1, :], points[..., 3:, :].mean(-2)], -2)


def test_eyes_and_mouth_come_to_their_places(loose: FaceSet) -> None:
    """The landmarks of the crops, found again, are those of the model, to a part of a pixel of the crop."""
    aligned = align_faces(loose, RAFDB_ALIGNMENT)
    assert aligned.found == len(loose) and not aligned.in_place and "found in 24 of 24 images (100%)" in aligned.message
    crops = crop_faces(aligned.faces, 80, 3)
    assert crops.shape == (24, 80, 80, 3)
    again = find_landmarks(crops, np.array([-0.05, -0.1, 1.0, 1.1]))
    assert again.score.min() > 0.7
    model = np.array(RAFDB_ALIGNMENT.landmarks)
    after = np.abs(three(again.points) - three(model)).mean()
    before = np.abs(three(find_landmarks(loose.image, np.array([0.2, 0.1, 0.8, 0.9])).points) - three(model)).mean()
    assert after < 0.02 < 3 * after < before


def test_images_that_lie_in_place_stay_as_they_are(loose: FaceSet) -> None:
    first = align_faces(loose, RAFDB_ALIGNMENT).faces
    placed = replace(loose, image=crop_faces(first, 100, 3))
    again = align_faces(placed, RAFDB_ALIGNMENT)
    assert again.in_place and again.faces is placed
    forced = align_faces(placed, RAFDB_ALIGNMENT, always=True)
    assert forced.in_place and forced.faces.placement is not None
    assert (forced.faces.median_placement == np.eye(2, 3)).all()
    assert np.abs(forced.faces.placement - np.eye(2, 3)).max() < 0.15


def test_a_face_without_landmarks_is_placed_by_the_median(loose: FaceSet) -> None:
    image = loose.image.copy()
    image[5] = 90
    aligned = align_faces(replace(loose, image=image), RAFDB_ALIGNMENT)
    assert aligned.found == 23 and aligned.faces.placement is not None
    others = np.delete(aligned.faces.placement, 5, 0)
    assert np.abs(aligned.faces.placement[5] - np.median(others, 0)).max() < 0.05


def test_sets_without_faces_are_taken_as_they_are() -> None:
    faces = some_faces(20)
    aligned = align_faces(faces, RAFDB_ALIGNMENT)
    assert aligned.faces is faces and not aligned.in_place
    assert aligned.message == "as the images are: faces in 0 of 20 of them, at least 10 are needed"


def test_landmarks_of_grey_images_do_not_depend_on_the_number_of_channels(loose: FaceSet) -> None:
    grey = loose.image[:4, ..., 0]
    start = np.array([0.2, 0.1, 0.8, 0.9])
    one, three_channels = find_landmarks(grey, start), find_landmarks(np.repeat(grey[..., None], 3, 3), start)
    assert (one.points == three_channels.points).all() and (one.score == three_channels.score).all()


def test_landmarks_are_found_once_per_run_folder(
    loose: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = align_faces(loose, RAFDB_ALIGNMENT, cache=tmp_path)
    monkeypatch.setattr(landmarks, "find_landmarks", None)
    assert (align_faces(loose, RAFDB_ALIGNMENT, cache=tmp_path).faces.placement == first.faces.placement).all()
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError):  # other faces
        align_faces(loose.take(np.arange(20)), RAFDB_ALIGNMENT, cache=tmp_path)


def test_crops_of_grey_and_colour_images_have_the_channels_of_the_model(loose: FaceSet) -> None:
    placement = np.repeat(np.eye(2, 3, dtype=np.float32)[None], len(loose), 0)
    colour = replace(loose, placement=placement)
    grey = replace(colour, image=loose.image[..., 0])
    for faces in (colour, grey):
        for channels in (1, 3):
            assert crop_faces(faces, 64, channels).shape == (24, 64, 64, channels)
    assert np.abs(crop_faces(colour, 64, 3).astype(int) - loose.image).max() <= 1  # the identity changes nothing
    assert (crop_faces(grey, 64, 3)[..., 0] == crop_faces(grey, 64, 1)[..., 0]).all()


def test_training_faces_are_placed_and_validation_faces_too(loose: FaceSet, tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "a.parquet", loose)
    check = write_parquet(tmp_path / "b.parquet", faces_at(224, 120, 130, n=14))
    messages: list[str] = []
    recipe = Recipe(arch="basecnn", align="landmarks")
    material = DataSource.of([data], [check]).read(recipe, messages.append, tmp_path)
    (corpus,) = material.corpora
    assert corpus.faces.placement is not None and corpus.validation.placement is not None
    assert material.alignment[0] == RAFDB_ALIGNMENT
    assert [line for line in messages if re.match("a: (training|validation) images are placed by landmarks", line)]
    plain = DataSource.of([data], [check]).read(replace(recipe, align="none", colour=True))
    assert plain.corpora[0].faces.placement is None and plain.fingerprint != material.fingerprint


def test_validation_faces_in_place_stay_as_they_are(loose: FaceSet, tmp_path: Path) -> None:
    placed = replace(loose, image=crop_faces(align_faces(loose, RAFDB_ALIGNMENT).faces, 100, 3))
    data = write_parquet(tmp_path / "aligned.parquet", placed)
    messages: list[str] = []
    source = DataSource.of([data], [data])
    (corpus,) = source.read(Recipe(arch="basecnn", align="landmarks", colour=True), messages.append).corpora
    assert corpus.faces.placement is not None and corpus.validation.placement is None
    assert any("validation images stay as they are" in line for line in messages)


def test_twins_across_corpora_are_found_in_another_framing(tmp_path: Path) -> None:
    """Two corpora have the same photographs of one face, cut loosely in one and tightly in the other."""
    other = np.random.default_rng(1).integers(0, 256, (12, 64, 64), np.uint8)
    tight, wide = faces_at(224, 112, 105, by=0.2), faces_at(230, 120, 175, by=0.2)
    noise = FaceSet("noise", FER2013, other, np.arange(12) % 7)
    paths = [write_parquet(tmp_path / f"{name}.parquet", one) for name, one in zip("abn", (tight, wide, noise))]
    given = [f"a={paths[0]}", f"b={paths[1]}"], [f"a={paths[2]}", f"b={paths[1]}"]
    recipe, lines = Recipe(arch="basecnn", align="landmarks"), list[str]()
    DataSource.of(*given).read(replace(recipe, align="none", colour=True), lines.append)
    assert not any(re.match("b: .* have near-duplicates among .* faces of a;", line) for line in lines)
    lines.clear()
    DataSource.of(*given).read(recipe, lines.append)
    assert any(re.match("b: 24 of 24 faces .* have near-duplicates among 24 faces of a;", line) for line in lines)


class FakeAffine:
    """A colour model of the fit "affine" that answers by the brightness of the middle; it keeps what it was shown."""

    name, path, sha256, device, crop_px, channels = "fake", Path("fake"), "0", "cpu", 80, 3
    alignment: FaceAlignment = RAFDB_ALIGNMENT

    def __init__(self) -> None:
        from fervid.emotions.facts import Head

        self.heads = (Head("seven", FER2013, 1.0, 0),)
        self.shown: list[np.ndarray] = []

    def logits(self, crop: np.ndarray) -> np.ndarray:
        self.shown.append(crop)
        return np.eye(7, dtype=np.float32)[crop[:, 40, 40, 0] % 7]


def shown_to(faces: FaceSet, **options: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    model: Any = FakeAffine()
    return evaluate_faces(faces, [model], EvalConfig(**options)), model.shown


def test_face_crops_are_evaluated_as_the_line_would_place_them(loose: FaceSet) -> None:
    expected = crop_faces(align_faces(loose, RAFDB_ALIGNMENT).faces, 80, 3)
    facts, (shown,) = shown_to(loose)
    assert (shown == expected).all()
    assert facts["aligned"].startswith("by landmarks: found in 24 of 24") and facts["framed_otherwise"] is None
    facts, (shown,) = shown_to(loose, align="none")
    assert facts["aligned"] is None and not (shown == expected).all() and not facts["grey_as_colour"]
    facts, shown_ten = shown_to(loose, tta="tencrop")
    assert len(shown_ten) == 10 and shown_ten[0].shape == expected.shape
    with pytest.raises(ConfigError, match="alignment"):
        EvalConfig(align="often")


def test_faces_in_place_are_evaluated_as_they_are(loose: FaceSet) -> None:
    placed = replace(loose, image=crop_faces(align_faces(loose, RAFDB_ALIGNMENT).faces, 80, 3))
    facts, (shown,) = shown_to(placed)
    assert (shown == placed.image).all()
    assert facts["aligned"] == "as the images are: the faces are already where the model expects them"


def test_grey_images_for_a_colour_model_are_reported(loose: FaceSet) -> None:
    facts, (shown,) = shown_to(replace(loose, image=loose.image[..., 0].copy()), align="none")
    assert facts["grey_as_colour"] and (shown[..., 0] == shown[..., 2]).all()


def test_detection_searches_the_original_images_of_a_table(tmp_path: Path) -> None:
    """The faces are outside the central square, of which no model sees more than its own few pixels."""
    wide = np.full((400, 1200, 3), 90, np.uint8)
    face = Image.fromarray(PORTRAIT[40:200, 150:310]).resize((90, 90))
    wide[40:130, 60:150] = np.asarray(face)
    images = [wide, wide[:, ::-1].copy(), np.full_like(wide, 90)]
    table = {"image": [encoded(one) for one in images], "emotion": ["happiness", "happiness", "sadness"]}
    pq.write_table(pa.table(table), tmp_path / "scenes.parquet")
    facts = evaluate_weights(tmp_path / "scenes.parquet", None, "seresnet", "cpu", EvalConfig(detect=True))
    assert facts["coverage"] == facts["accuracy"] == 0.6667


def test_small_images_are_placed_by_the_detector(loose: FaceSet) -> None:
    """Images of at most 64 pixels count as face crops; an aligned model needs their eyes and mouth in place."""
    image, detector = loose.image[0], MTCNN(device="cpu")
    placed = whole(image, 80, 3, alignment=RAFDB_ALIGNMENT, detector=detector)
    expected = crop_faces(align_faces(loose, RAFDB_ALIGNMENT).faces.take(np.array([0])), 80, 3)[0]
    plain = whole(image, 80, 3)
    assert np.abs(placed.astype(int) - expected).mean() < np.abs(plain.astype(int) - expected).mean() / 2
    assert (whole(image, 80, 3, alignment=RAFDB_ALIGNMENT) == plain).all()
    similar = replace(RAFDB_ALIGNMENT, fit="similarity")
    assert (whole(image, 80, 3, alignment=similar, detector=detector) == plain).all()
    blank = np.full((48, 48, 3), 90, np.uint8)
    assert (whole(blank, 80, 3, alignment=RAFDB_ALIGNMENT, detector=detector) == 90).all()


def test_alignment_is_printed_and_can_be_forced_for_any_model(loose: FaceSet, tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "loose.parquet", loose)
    call = ["evaluate", "--data", str(data), "--weights", "seresnet", "--device", "cpu"]
    forced = CliRunner().invoke(app, [*call, "--align", "landmarks"])
    assert forced.exit_code == 0 and re.search(r"face alignment +by landmarks: found in 24 of 24", forced.output)
    default = json.loads(CliRunner().invoke(app, [*call, "--json", "-"]).stdout)
    assert default["aligned"] is None
