"""The lab in small: data sets by name, a real training run on a handful of pictures, scores derived by hand."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from fervid.backends.torch_classifier import TorchClassifier
from fervid.errors import DataError, WeightsError
from fervid.lab.datasets import FER2013, FaceSet, load_faces
from fervid.lab.evaluate import calibration_error, evaluate_weights, fit_temperature, score


def webp(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "webp", lossless=True)
    return file.getvalue()


@pytest.fixture
def faces() -> FaceSet:
    """64 pictures whose brightness is their class: darker for anger, brighter for neutral."""
    label = np.arange(64) % 7
    noise = np.random.default_rng(0).integers(0, 24, (64, 48, 48))
    return FaceSet("little", FER2013, (noise + label[:, None, None] * 32).astype(np.uint8), label)


@pytest.fixture
def parquet(faces: FaceSet, tmp_path: Path) -> Path:
    columns = {"image": [webp(i) for i in faces.image], "emotion": faces.label}
    path = tmp_path / "little.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_and_kaggle_csv_hold_the_same_faces(faces: FaceSet, parquet: Path, tmp_path: Path) -> None:
    lines = ["emotion,pixels,Usage"]
    lines += [f"{y},{' '.join(map(str, x.ravel()))},Training" for x, y in zip(faces.image, faces.label)]
    lines += [f"0,{' '.join(['0'] * 2304)},PrivateTest"]
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))
    from_csv, from_parquet = load_faces(tmp_path / "fer2013.csv", "train"), load_faces(parquet)
    assert (from_csv.image == from_parquet.image).all() and (from_csv.image == faces.image).all()
    assert (from_csv.label == from_parquet.label).all()
    assert len(load_faces(tmp_path / "fer2013.csv", "private")) == 1


def test_votes_become_soft_targets_and_fall_back_to_the_label(tmp_path: Path) -> None:
    image = webp(np.zeros((48, 48), np.uint8))
    votes = {f"ferplus_{name}": [0, 0] for name in FER2013}
    votes["ferplus_happiness"][0], votes["ferplus_neutral"][0] = 6, 2
    pq.write_table(pa.table({"image": [image, image], "emotion": [3, 4], **votes}), tmp_path / "v.parquet")
    targets = load_faces(tmp_path / "v.parquet").targets(vote_weight=0.5)
    # row 0: half a one for happiness, half of 6/8 and 2/8; row 1: no votes at all, so its label
    assert targets[0].tolist() == [0, 0, 0, 0.5 + 0.375, 0, 0, 0.125]
    assert targets[1].tolist() == [0, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [({"emotion": [1]}, "no column image"), ({"image": [b""], "pixels": [1]}, "no column emotion")],
)
def test_missing_columns_are_named(columns: dict, words: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=words):
        load_faces(tmp_path / "x.parquet")


def test_a_label_out_of_range_names_its_row(faces: FaceSet, tmp_path: Path) -> None:
    columns = {"image": [webp(i) for i in faces.image[:3]], "emotion": [0, 7, 1]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="row 1 has emotion 7"):
        load_faces(tmp_path / "x.parquet")


def test_scores_of_bundled_weights(parquet: Path) -> None:
    scores = evaluate_weights(parquet, None, "seresnet", "cpu")
    assert scores["n"] == 64 and 0 <= scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]
    assert sum(map(sum, scores["confusion"].values())) == 64


def test_predictions_do_not_depend_on_the_batch() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (37, 48, 48), np.uint8)
    classifier = TorchClassifier("seresnet", "cpu")
    together = classifier.predict(crops)
    alone = np.concatenate([classifier.predict(crop[None]) for crop in crops])
    assert (together == alone).all()
    assert np.allclose(together.sum(1), 1, atol=1e-6)
    assert classifier.predict(crops[:0]).shape == (0, 7)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"m\.json"):
        TorchClassifier(str(tmp_path / "m.safetensors"), "cpu")
    facts = {
        "arch": "seresnet",
        "heads": [{"name": "a", "labels": FER2013, "temperature": 1}],
        "input_px": 48,
        "mean": 0,
        "std": 1,
    }
    facts |= {"framing": {"landmarks": [[0, 0]] * 5, "box": 1, "zoom": 1}}
    (tmp_path / "m.json").write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="not the weights of a seresnet"):
        TorchClassifier(str(tmp_path / "m.safetensors"), "cpu")


def test_every_tenth_face_is_set_aside(faces: FaceSet) -> None:
    rest, aside = faces.split()
    assert (len(rest), len(aside)) == (57, 7)
    assert (aside.image == faces.image[::10]).all() and (aside.label == faces.label[::10]).all()


def test_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 7))
    label = np.array([rng.choice(7, p=p) for p in softmax(logits, 1)])
    assert fit_temperature(logits * 3, label) == pytest.approx(3, rel=0.05)


def test_calibration_error_by_hand() -> None:
    # two confident answers (0.9, one right) and two unsure ones (0.5, one right): (|0.5 - 0.9| + 0) / 2
    prob = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])
    assert calibration_error(prob, np.array([0, 1, 0, 1])) == pytest.approx(0.2)


def test_scores_by_hand() -> None:
    # a a b b called a b b b: accuracy 3/4; F1(a) = 2*1/(2+1), F1(b) = 2*2/(2+3)
    logits = np.array([[2.0, 0], [0, 2], [0, 2], [0, 2]])
    scores = score(logits, np.array([0, 0, 1, 1]), ("a", "b"), 1.0)
    assert scores.accuracy == 0.75
    assert scores.f1 == {"a": pytest.approx(2 / 3), "b": pytest.approx(4 / 5)}
    assert scores.confusion.tolist() == [[1, 1], [0, 2]]
