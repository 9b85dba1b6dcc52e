"""`fervid evaluate`: metrics, heads and classes matched by name, detection in raw images, output."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from scipy.special import softmax
from typer.testing import CliRunner

from fervid.cli import app
from fervid.emotions.facts import Head
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.data.face_alignment import FER2013_ALIGNMENT
from fervid.lab.evaluation.evaluate import EvalConfig, Predictor, choose_head, evaluate_faces, evaluate_weights, views
from fervid.lab.evaluation.metrics import calibration_error, fit_temperature, reliability, score
from fervid.labels import EMOTIONS
from fervid.registry import DETECTORS
from fervid.views import terminal
from fervid.views.figures.evaluation import write_evaluation
from fervid.views.figures.style import PALETTE
from tests.helpers.face_sets import some_faces, write_parquet

# -- metrics --------------------------------------------------------------------------------------------


def test_known_temperature_is_recovered() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 7))
    label = np.array([rng.choice(7, p=p) for p in softmax(logits, 1)])
    assert fit_temperature(logits * 3, label) == pytest.approx(3, rel=0.05)


def test_calibration_error_by_hand() -> None:
    # two confident predictions (0.9, one correct), two uncertain ones (0.5, one correct): (|0.5 - 0.9| + 0) / 2
    prob = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])
    assert calibration_error(prob, np.array([0, 1, 0, 1])) == pytest.approx(0.2)
    bins = reliability(prob, np.array([0, 1, 0, 1]), bins=10)
    assert bins.n.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert bins.confidence[[5, 9]].tolist() == [0.5, 0.9] and bins.accuracy[[5, 9]].tolist() == [0.5, 0.5]


def certain(*predicted: int, k: int = 2) -> np.ndarray:
    """Probabilities of 1 for the predicted classes, one row per face."""
    return np.eye(k)[list(predicted)]


def test_scores_by_hand() -> None:
    # a a b b predicted as a b b b: accuracy 3/4; precision 1/1 and 2/3; F1(a) = 2*1/(2+1), F1(b) = 2*2/(2+3)
    prob = certain(0, 1, 1, 1)
    scores = score(prob, prob, np.array([0, 0, 1, 1]), ("a", "b"))
    assert scores.accuracy == scores.accuracy_found == 0.75 and scores.coverage == 1
    a, b = scores.classes.values()
    assert (a.precision, a.recall, a.support) == (1, 0.5, 2)
    assert (b.precision, b.recall, b.support) == (pytest.approx(2 / 3), 1, 2)
    assert (a.f1, b.f1) == (pytest.approx(2 / 3), pytest.approx(4 / 5))
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.mean_recall == (0.5 + 1) / 2
    assert scores.confusion.tolist() == [[1, 1], [0, 2]]


def test_undetected_face_counts_as_wrong() -> None:
    # a a b b, the second a not detected, the others correct
    prob = certain(0, 0, 1, 1)
    scores = score(prob, prob, np.array([0, 0, 1, 1]), ("a", "b"), np.array([True, False, True, True]))
    assert (scores.accuracy, scores.accuracy_found, scores.coverage) == (0.75, 1, 0.75)
    a = scores.classes["a"]
    assert (a.precision, a.recall, a.support, a.missed) == (1, 0.5, 2, 1)
    assert scores.mean_recall == (0.5 + 1) / 2
    assert scores.confusion.tolist() == [[1, 0], [0, 2]] and scores.calibrated.n.sum() == 3


def test_scores_are_zero_without_detected_faces() -> None:
    prob = certain(0, 1)
    scores = score(prob, prob, np.array([0, 1]), ("a", "b"), np.zeros(2, bool))
    assert scores.accuracy == scores.accuracy_found == scores.coverage == scores.calibrated.error == 0


def test_class_without_faces_is_left_out_of_the_means() -> None:
    prob = certain(0, 1, k=3)
    scores = score(prob, prob, np.array([0, 1]), ("a", "b", "c"))
    assert scores.macro_f1 == scores.mean_recall == 1 and scores.classes["c"].recall is None


def test_accuracy_interval_is_binomial() -> None:
    # 50 of 100 correct: 100 tosses of a fair coin give 40 to 60 heads with probability 0.95
    prob = certain(*[0] * 100)
    scores = score(prob, prob, np.arange(100) % 2, ("a", "b"))
    assert (scores.accuracy_low, scores.accuracy_high) == (0.4, 0.6)


def test_accuracy_interval_of_a_few_faces_is_wide() -> None:
    prob = certain(0, 1, 0)
    right, wrong = (score(prob, prob, label, ("a", "b")) for label in (np.array([0, 1, 0]), np.array([1, 0, 1])))
    # three tosses of a coin with this bias all give heads with probability 0.2924 ** 3 = 0.025
    assert (right.accuracy_low, right.accuracy_high) == (pytest.approx(0.2924, abs=1e-4), 1)
    assert (wrong.accuracy_low, wrong.accuracy_high) == (0, pytest.approx(0.7076, abs=1e-4))


# -- heads, classes, views ------------------------------------------------------------------------------

SEVEN = Head("fer2013", FER2013, 2.0, 0)
EIGHT = Head("ferplus", (*FER2013, "contempt"), 1.0, 7)


class FakeTwoHeads:
    """Two heads with 15 outputs in all; the logit of output k is k for every image."""

    alignment = FER2013_ALIGNMENT
    name, sha256, path, crop_px, channels = "fake", "0", Path("fake.safetensors"), 4, 1
    heads = SEVEN, EIGHT

    def logits(self, crop: np.ndarray) -> np.ndarray:
        """Crops (m, 4, 4, 1) -> (m, 15)."""
        assert crop.shape[1:] == (4, 4, 1)
        return np.tile(np.arange(15, dtype=np.float32), (len(crop), 1))


CK_PLUS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")


@pytest.mark.parametrize(
    ("labelling", "requested", "expected"),
    [
        ("fer2013", None, "fer2013"),
        ("ferplus", None, "ferplus"),
        ("", None, "seven"),
        ("fer2013", "seven", "seven"),
        ("another", None, "seven"),
    ],
)
def test_head_that_learned_the_labels_is_chosen(labelling: str, requested: str | None, expected: str) -> None:
    assert choose_head((Head("seven", FER2013, 1.0, 0), EIGHT, SEVEN), labelling, requested).name == expected


def test_unknown_head_error_lists_known_heads() -> None:
    with pytest.raises(ConfigError, match="fer2013, ferplus"):
        choose_head((SEVEN, EIGHT), "", "rafdb")


def test_only_requested_classes_share_the_probability() -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    predictor, classes = (
        Predictor(FakeTwoHeads(), SEVEN),
        ("fear", "contempt", "anger"),
    )
    logits = predictor.logits(image, "none")
    prob, raw = (predictor.probabilities(logits, classes, calibrated=calibrated) for calibrated in (True, False))
    # fear is output 2, anger output 0, contempt has no output; the temperature is 2
    assert prob[0] == pytest.approx([*softmax([2 / 2, 0])[:1], 0, *softmax([2 / 2, 0])[1:]])
    assert raw[0] == pytest.approx([*softmax([2, 0])[:1], 0, *softmax([2, 0])[1:]])


def test_only_shared_classes_are_compared_and_others_reported() -> None:
    image, label = np.zeros((7, 4, 4), np.uint8), np.arange(7)
    faces = FaceSet("ck", CK_PLUS, image, label)
    facts = evaluate_faces(faces, [FakeTwoHeads()], EvalConfig(head="fer2013"))
    assert facts["classes_compared"] == [name for name in CK_PLUS if name != "contempt"]
    assert facts["classes_left_out"] == {"only_in_data": ["contempt"], "only_in_model": ["neutral"]}
    assert (facts["n"], facts["faces_left_out"]) == (6, 1)
    assert facts["classes"]["surprise"]["recall"] == 1  # the highest of the compared outputs
    assert facts["accuracy"] == round(1 / 6, 4)
    assert (
        facts["accuracy_any_answer"] == 0
    )  # neutral has the highest logit of all outputs, and is the label of no face


def test_error_without_faces_of_known_classes() -> None:
    faces = FaceSet("odd", (*FER2013, "contempt"), np.zeros((2, 4, 4), np.uint8), np.array([7, 7]))
    with pytest.raises(DataError, match="none of its 2 faces"):
        evaluate_faces(faces, [FakeTwoHeads()], EvalConfig(head="fer2013"))


def test_tencrop_views() -> None:
    image = np.arange(144, dtype=np.uint8).reshape(1, 12, 12, 1)
    shown = list(views(image, "tencrop", 11))
    assert len(shown) == 10 and all(view.shape == (1, 11, 11, 1) for view in shown)
    assert all((shown[i + 1] == shown[i][:, :, ::-1]).all() for i in range(0, 10, 2))
    assert [int(view[0, 0, 0, 0]) for view in shown[2::2]] == [0, 1, 12, 13]  # the corners
    assert len(list(views(image, "flip", 11))) == 2 and next(views(image, "none", 6)).shape == (1, 6, 6, 1)
    colour = np.stack([image[..., 0], image[..., 0] // 2, image[..., 0] // 3], 3)
    for grey, rgb in zip(shown, views(colour, "tencrop", 11), strict=True):
        assert rgb.shape == (1, 11, 11, 3) and np.array_equal(rgb[..., :1], grey)


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(ConfigError, match="tencrop"):
        EvalConfig(tta="hundredcrop")


# -- the bundled model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seresnet() -> TorchClassifier:
    model = TorchClassifier("seresnet", "cpu")
    model.batch_size = 8  # smaller padded batches
    return model


@pytest.fixture(scope="module")
def noise() -> FaceSet:
    image = np.random.default_rng(0).integers(0, 256, (14, 48, 48), np.uint8)
    return FaceSet("noise", FER2013, image, np.arange(14) % 7)


def test_ensemble_of_one_model_twice_equals_the_model(seresnet: TorchClassifier, noise: FaceSet) -> None:
    single, twice = (evaluate_faces(noise, [seresnet] * n, EvalConfig()) for n in (1, 2))
    assert len(twice.pop("weights")) == 2 and len(single.pop("weights")) == 1
    assert single == twice


@pytest.mark.parametrize("tta", ["flip", "tencrop"])
def test_augmented_predictions_are_invariant_to_mirroring(seresnet: TorchClassifier, noise: FaceSet, tta: str) -> None:
    predictor, images = Predictor(seresnet, seresnet.head), noise.image[:4]
    original, mirrored, plain = (
        predictor.probabilities(predictor.logits(image, augmentation), FER2013)
        for image, augmentation in ((images, tta), (images[:, :, ::-1], tta), (images, "none"))
    )
    assert np.allclose(original, mirrored, atol=1e-6) and (tta != "flip" or (original == mirrored).all())
    assert not np.allclose(original, plain, atol=1e-3)


def test_scores_of_bundled_weights(tmp_path: Path) -> None:
    scores = evaluate_weights(write_parquet(tmp_path / "faces.parquet", some_faces(64)), None, "seresnet", "cpu")
    assert scores["n"] == 64 and 0 <= scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]
    assert sum(map(sum, scores["confusion"].values())) == 64


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """A smiling face and an image without a face, as files; the grey crops are blank."""
    folder = tmp_path_factory.mktemp("raw")
    paths = [folder / "smile.png", folder / "coffee.png"]
    for path, pixels in zip(paths, (skimage.data.astronaut(), skimage.data.coffee())):
        Image.fromarray(pixels).save(path)
    grey, label = np.zeros((2, 48, 48), np.uint8), np.array([3, 6])
    return FaceSet("raw", FER2013, grey, label, original=np.array(paths))


@pytest.mark.parametrize("detector", DETECTORS)
def test_detection_counts_undetected_faces_as_wrong(seresnet: TorchClassifier, raw: FaceSet, detector: str) -> None:
    facts = evaluate_faces(raw, [seresnet], EvalConfig(detect=True, detector=detector))
    assert (facts["coverage"], facts["accuracy"], facts["accuracy_found"]) == (0.5, 0.5, 1)
    assert facts["classes"]["neutral"]["missed"] == 1


def test_small_crops_are_enlarged_for_the_detector(seresnet: TorchClassifier) -> None:
    face = Image.fromarray(skimage.data.astronaut()[50:180, 160:290]).convert("L").resize((48, 48))
    faces = FaceSet("one", FER2013, np.stack([np.asarray(face)]), np.array([3]), source=np.array(["x.csv row 1"]))
    facts = evaluate_faces(faces, [seresnet], EvalConfig(detect=True, tta="tencrop"))
    assert facts["coverage"] == facts["accuracy"] == 1


# -- output ---------------------------------------------------------------------------------------------


def test_figures_and_tables_are_written(seresnet: TorchClassifier, raw: FaceSet, tmp_path: Path) -> None:
    facts = {"data": "raw", "split": None} | evaluate_faces(raw, [seresnet], EvalConfig(detect=True))
    paths = write_evaluation(facts, tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(path.name for path in paths)
    rows = list(csv.reader((tmp_path / "a" / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["true", *FER2013, "no face"]
    assert rows[4] == ["happiness", "0", "0", "0", "1", "0", "0", "0", "0"] and rows[7][-1] == "1"
    classes = {row["class"]: row for row in csv.DictReader((tmp_path / "a" / "classes.csv").read_text().splitlines())}
    assert classes["happiness"]["recall"] == "1.0" and classes["neutral"]["missed"] == "1"
    assert classes["fear"]["recall"] == "" and classes["fear"]["support"] == "0"
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "a" / name) as image:
            assert min(image.size) > 400


def test_palette_has_one_colour_per_emotion() -> None:
    assert tuple(PALETTE) == EMOTIONS and len(set(PALETTE.values())) == len(EMOTIONS)


def test_printed_summary(capsys: pytest.CaptureFixture[str]) -> None:
    faces = FaceSet("ck", CK_PLUS, np.zeros((7, 4, 4), np.uint8), np.arange(7))
    config = EvalConfig(head="fer2013", tta="flip")
    terminal.print_evaluation({"data": "ck", "split": "test"} | evaluate_faces(faces, [FakeTwoHeads()], config))
    printed = capsys.readouterr().out
    for words in ("ck, test: 6 faces", "16.7%", "95% interval", "left out", "contempt", "mirrored", "precision"):
        assert words in printed
    assert max(map(len, printed.splitlines()[8:])) <= 80


@pytest.fixture
def parquet(noise: FaceSet, tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "noise.parquet", noise)


def test_json_to_stdout_or_a_file(parquet: Path, tmp_path: Path) -> None:
    call = ["evaluate", "--data", str(parquet), "--device", "cpu"]
    dash = CliRunner().invoke(app, [*call, "--json", "-"])
    bare = CliRunner().invoke(app, [*call, "--json", "--tta", "none"])
    last = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "out"), "--json"])
    assert dash.exit_code == 0 and dash.stdout == bare.stdout == last.stdout
    file = CliRunner().invoke(app, [*call, "--json", str(tmp_path / "facts.json")])
    assert "accuracy" in file.stdout and not file.stdout.startswith("{")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts == json.loads(dash.stdout) == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert facts["n"] == 14 and facts["weights"][0]["head"] == "fer2013"


def test_repeated_weights_option_makes_an_ensemble(parquet: Path) -> None:
    call = ["evaluate", "--data", str(parquet), "--weights", "seresnet", "--weights", "seresnet", "--json", "-"]
    result = CliRunner().invoke(app, call)
    assert [one["name"] for one in json.loads(result.stdout)["weights"]] == ["seresnet", "seresnet"]


def test_pickled_weights_are_refused_with_a_conversion_command(parquet: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "it's mine.pth")
    call = ["evaluate", "--data", str(parquet), "--weights", str(tmp_path / "it's mine.pth")]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 2
    for words in ("can run code", "python -c", "mine.json", "`fervid train` writes both"):
        assert words in result.stderr
    _, command = result.stderr.split("python -c ")
    program = shlex.split(command.split(" and write its facts")[0])[0]
    exec(program)
    assert (tmp_path / "it's mine.safetensors").is_file()


def test_duplicates_of_training_faces_are_left_out(noise: FaceSet, parquet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "training" / "happy"
    folder.mkdir(parents=True)
    for i in range(5):
        copy = noise.image[i] if i else noise.image[i][:, ::-1]  # the first one mirrored
        Image.fromarray(copy).save(folder / f"{i}.png")
    config = EvalConfig(apart_from=tmp_path / "training")
    facts = evaluate_weights(parquet, None, "seresnet", "cpu", config)
    assert (facts["duplicates_left_out"], facts["n"]) == (5, 9)
