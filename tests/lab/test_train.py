"""Training: every network, balancing, resuming, several processes, frozen backbones, distillation, sweeps."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError, DeviceError, MissingDependency, OutputError, RunError, WeightsError
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.training import pretrained
from fervid.lab.training import train as train_module
from fervid.lab.training.augment import augment
from fervid.lab.training.balance import balance, class_weights
from fervid.lab.training.data import Corpus, DataSource, TrainingData
from fervid.lab.training.distillation import distillation_targets
from fervid.lab.training.distributed import spawn
from fervid.lab.training.kinds import PLAIN_KINDS
from fervid.lab.training.recipe import BALANCES, Recipe, load_grid, load_recipe
from fervid.lab.training.sweep import sweep
from fervid.lab.training.targets import find_tasks
from fervid.lab.training.train import train
from fervid.lab.training.trainer import Trainer
from fervid.labels import EMOTIONS
from fervid.networks import registry
from tests.helpers.command_line import run
from tests.helpers.face_sets import some_faces, write_parquet

#: Architectures that take seconds for an epoch of 16 images; the others are fast.
HEAVY = {
    "secnn15",
    "secnn17",
    "vgg16",
    "resnet18",
    "resnet50",
    "efficientnet_b3",
    "efficientnet_b4",
    "vggface2",
    "dlibface",
}
TINY = Recipe(arch="basecnn", epochs=1, batch_size=8, vote_weight=0, warmup_epochs=0)


def with_votes(faces: FaceSet) -> FaceSet:
    """Give the label 80% of the votes and contempt 20%; the last face has no votes."""
    votes = np.zeros((len(faces), 8), np.float32)
    votes[np.arange(len(faces)), [EMOTIONS.index(FER2013[k]) for k in faces.label]] = 0.8
    votes[:, 7] = 0.2
    votes[-1] = 0
    return replace(faces, votes=votes, vote_labels=EMOTIONS)


@pytest.fixture(autouse=True)
def no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing of curves except in the test of curves: it takes longer than training on a few faces."""
    if "curves" not in request.node.name:
        monkeypatch.setattr("fervid.lab.training.train.draw_curves", lambda path, rows: None)


@pytest.fixture
def data() -> TrainingData:
    return TrainingData.single(some_faces(32), some_faces(14, "validation", seed=1))


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "little.parquet", some_faces(40))


def facts_of(weights: Path) -> dict[str, Any]:
    return json.loads(weights.with_suffix(".json").read_text())


# -- the networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch", [pytest.param(a, marks=pytest.mark.slow) if a in HEAVY else a for a in registry.ARCHITECTURES]
)
def test_every_network_trains_and_loads(arch: str, tmp_path: Path) -> None:
    data = TrainingData.single(some_faces(16), some_faces(7, "validation"))
    weights = train(data, tmp_path, replace(TINY, arch=arch, init="scratch", batch_size=16))
    classifier = TorchClassifier(str(weights), "cpu")
    classifier.batch_size = 2
    prob = classifier.predict(data.validation.image[:2, ..., None])
    assert prob.shape == (2, 7) and np.allclose(prob.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("arch", [a for a in registry.ARCHITECTURES if a not in HEAVY])
def test_output_is_the_head_of_the_features_for_every_input_size(arch: str) -> None:
    for side in (40, 48, 64):
        net = registry.build(arch, 5, size_px=side).eval()
        x = torch.rand(2, 1, side, side)
        features = net.features(x)
        assert features.shape == (2, net.head.in_features)
        assert torch.allclose(net.head(features), net(x), atol=1e-5)


@pytest.mark.parametrize(("arch", "layers"), [("secnn13", 13), ("secnn15", 15), ("secnn17", 17), ("baseline", 7)])
def test_number_of_layers_matches_the_name(arch: str, layers: int) -> None:
    """Convolutions and dense layers, without shortcuts and excitations."""
    modules = registry.build(arch, 7).named_modules()
    weighted = [n for n, m in modules if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    assert len([n for n in weighted if "shortcut" not in n and "excite" not in n]) == layers


def test_classifier_does_not_import_torchvision() -> None:
    script = "from fervid.emotions.torch_classifier import TorchClassifier; TorchClassifier('seresnet', 'cpu')"
    script += "; import sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torchvision", "facenet_pytorch", "fervid.networks.published"} & set(result.stdout.split())


# -- initial weights --------------------------------------------------------------------------------


def test_backbone_starts_from_initial_weights(data: TrainingData, tmp_path: Path) -> None:
    weights = train(data, tmp_path / "first", TINY)
    trainer = Trainer(data, replace(TINY, init=str(weights)), "cpu", tmp_path / "none.pt")
    net, loaded = trainer.net.state_dict(), load_file(weights)
    assert all(torch.equal(net[k], v.float()) for k, v in loaded.items() if k.startswith("layers") and v.ndim)
    assert not torch.equal(net["head.weight"], loaded["head.weight"].float())  # the head is trained from scratch


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_foreign_state_dict_is_loaded_into_the_backbone(suffix: str, tmp_path: Path) -> None:
    net = registry.build("resnet18", 7)
    state = {k: torch.full_like(v, 0.5) for k, v in net.backbone.state_dict().items()}  # type: ignore[union-attr]
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / f"resnet18.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    pretrained.load_backbone(net, "resnet18", str(path))
    assert all((v == 0.5).all() for k, v in net.backbone.state_dict().items() if v.is_floating_point())  # type: ignore


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    (tmp_path / "x.pt").write_bytes(b"not weights")
    for init, words in (("x.safetensors", "not the weights of a basecnn"), ("x.pt", "state dict"), ("y.pt", "no such")):
        with pytest.raises(WeightsError, match=words):
            pretrained.load_backbone(registry.build("basecnn", 7), "basecnn", str(tmp_path / init))
    with pytest.raises(WeightsError, match="no published weights"):
        pretrained.load_backbone(registry.build("basecnn", 7), "basecnn", "download")


def test_vggface2_download_error_says_where_to_put_the_file(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    code, _, error = run("train", "--data", parquet, "--out", tmp_path / "out", "--arch", "vggface2", "--epochs", 1)
    assert code == 2 and error.count("\n") == 1
    for words in ("no route to host", "20180402-114759-vggface2.pt", str(tmp_path / "cache"), "--init FILE"):
        assert words in error


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--init", "gone.pt"], "gone.pt: no such initial weights; expected"),
        (["--teacher", "seresnet", "--teacher", "gone.safetensors"], "gone.safetensors: no such weights"),
        (["--sweep", "grid.toml"], "gone.pt: no such initial weights"),
    ],
)
def test_requirements_are_checked_before_reading_faces(
    args: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text('init = ["scratch", "gone.pt"]')
    code, _, error = run("train", "--data", "faces that were never read", "--out", "out", *args)
    assert code == 2 and words in error and "never read" not in error and not Path("out").exists()


# -- the faces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", BALANCES)
def test_balancing_methods(method: str, tmp_path: Path) -> None:
    rare = np.r_[np.arange(56), np.arange(56)[np.arange(56) % 7 == 3]]  # happiness appears twice
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 48)).astype(np.uint8)  # classes are not separable
    faces = replace(with_votes(some_faces(56).take(rare)), image=pixels)
    balanced = balance(faces, method)
    count = np.bincount(balanced.label, minlength=7)
    if method in ("none", "weights"):
        assert balanced is faces
    else:
        assert len(balanced) > 64 and (balanced.image[:64] == faces.image).all()
        assert balanced.votes is not None and len(balanced.votes) == len(balanced)
        assert count.max() == 16 and (count.min() == 16 or method == "adasyn")
    recipe = replace(TINY, balance=method, batch_size=32)
    trainer = Trainer(TrainingData.single(faces, some_faces(14, "validation")), recipe, "cpu", tmp_path / "none.pt")
    assert 0 < trainer.one_epoch()["train_loss"] < 10


def test_class_weights_by_hand() -> None:
    # 3 of anger, 1 of disgust: each of the two classes has the weight of two of the four faces
    faces = replace(some_faces(4), label=np.array([0, 0, 0, 1]))
    assert class_weights(faces).tolist() == [pytest.approx(4 / 6), 2, 0, 0, 0, 0, 0]


def test_class_with_too_few_faces_for_smote_is_named() -> None:
    faces = replace(some_faces(4), label=np.array([0, 0, 0, 1]))
    with pytest.raises(DataError, match="found 1 of disgust"):
        balance(faces, "smote")


def test_missing_imbalanced_learn_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(MissingDependency, match=r"pip install -e .\.\[lab\]"):
        balance(some_faces(14), "adasyn")


def test_training_on_a_test_split_is_refused(parquet: Path) -> None:
    for name in ("fer2013_private_test", "fer2013/PrivateTest", "test"):
        with pytest.raises(DataError, match="test split"):
            TrainingData.single(some_faces(14, name), some_faces(14))
    for split in ("test", "PublicTest", "private", "all"):
        with pytest.raises(DataError, match="test split"):
            DataSource.of([parquet], split=split)
    assert TrainingData.single(some_faces(14, "latest"), some_faces(14)).faces.name == "latest"


def test_validation_classes_are_matched_by_name() -> None:
    faces, other = some_faces(14), some_faces(14)
    reordered = replace(other, labels=FER2013[::-1], label=6 - other.label)
    assert (TrainingData.single(faces, reordered).validation.label == other.label).all()
    with pytest.raises(DataError, match="contempt, which little lacks"):
        TrainingData.single(faces, replace(other, labels=(*FER2013[:6], "contempt")))


def with_labels(faces: FaceSet, labels: tuple[str, ...], name: str) -> FaceSet:
    return replace(faces, name=name, labels=labels, label=faces.label % len(labels))


def test_corpora_share_one_numbering_of_classes() -> None:
    faces, other = some_faces(14), some_faces(14)
    reordered = with_labels(other, ("contempt", "happiness", "anger"), "b")
    data = TrainingData((Corpus("a", faces, faces), Corpus("b", reordered, reordered)))
    assert data.labels == (*FER2013, "contempt")
    for corpus, original in zip(data.corpora, (faces, reordered)):
        for part in (corpus.faces, corpus.validation):
            assert [part.labels[k] for k in part.label] == [original.labels[k] for k in original.label]
    assert len({TrainingData(data.corpora[:n]).fingerprint for n in (1, 2)}) == 2


@pytest.mark.parametrize(
    ("corpora", "words"),
    [
        ([], "at least one corpus"),
        ([("a", FER2013), ("a", FER2013)], "two corpora are called a"),
        ([("a", ("anger", "fear")), ("b", ("sadness", "neutral"))], "a has anger, fear .* no class in common"),
    ],
)
def test_corpora_that_do_not_fit_are_refused(corpora: list[tuple[str, tuple[str, ...]]], words: str) -> None:
    sets = [(name, with_labels(some_faces(14), labels, name)) for name, labels in corpora]
    with pytest.raises(DataError, match=words):
        TrainingData(tuple(Corpus(name, faces, faces) for name, faces in sets))


def test_duplicates_are_reported_and_dropped(parquet: Path) -> None:
    messages: list[str] = []
    assert len(DataSource.of([parquet], [parquet]).read(TINY, messages.append).faces) == 40 and len(messages) == 1
    with pytest.raises(DataError, match="at least 2 faces, found 0"):
        DataSource.of([parquet], [parquet], drop_duplicates=True).read(TINY, messages.append)
    assert messages[-1] == "40 training faces dropped"


def test_twins_across_corpora_are_reported_and_dropped(tmp_path: Path) -> None:
    """A face of corpus a is a validation face of corpus b, mirrored."""
    ours, theirs = some_faces(40, seed=1), some_faces(40, seed=2)
    check = replace(theirs.take(np.arange(7)), image=ours.image[:7, :, ::-1].copy())
    paths = [write_parquet(tmp_path / f"{name}.parquet", one) for name, one in zip("abc", (ours, theirs, check))]
    names = [f"a={paths[0]}", f"b={paths[1]}"]
    messages: list[str] = []
    data = DataSource.of(names, [f"b={paths[2]}"]).read(TINY, messages.append)
    sizes = [(corpus.name, len(corpus.faces), len(corpus.validation)) for corpus in data.corpora]
    assert sizes == [("a", 35, 5), ("b", 40, 7)]
    assert any(re.match(r"c: \d of 7 faces .* have near-duplicates among \d faces of a;", line) for line in messages)
    messages.clear()
    dropped = DataSource.of(names, [f"b={paths[2]}"], drop_duplicates=True).read(TINY, messages.append)
    twins = len(data.corpora[0].faces) - len(dropped.corpora[0].faces)
    assert twins == 7 - sum(int(s.split()[-1]) < 7 for s in data.corpora[0].validation.source) > 0
    assert f"{twins} training faces dropped from a" in messages
    assert data.fingerprint != dropped.fingerprint


def test_corpora_without_twins_are_reported_once(tmp_path: Path) -> None:
    paths = [write_parquet(tmp_path / f"{name}.parquet", some_faces(40, seed=i)) for i, name in enumerate("ab")]
    messages: list[str] = []
    DataSource.of(paths).read(TINY, messages.append)
    assert messages == [
        "no near-duplicates between training faces of one corpus and validation faces of another",
        "a and its held-out tenth: no near-duplicates",
        "b and its held-out tenth: no near-duplicates",
    ]


def names_of(source: DataSource) -> list[tuple[str, str, str | None]]:
    return [(one.name, str(one.data), one.validation and str(one.validation)) for one in source.corpora]


def test_data_and_validation_sets_are_matched_by_order_or_name(parquet: Path) -> None:
    assert names_of(DataSource.of(["x/a.parquet", "n=b.csv"])) == [("a", "x/a.parquet", None), ("n", "b.csv", None)]
    by_order = names_of(DataSource.of(["a.csv", "b.csv"], ["c.csv", "d.csv"]))
    assert by_order == [("a", "a.csv", "c.csv"), ("b", "b.csv", "d.csv")]
    assert names_of(DataSource.of(["a.csv", "b.csv"], ["b=d.csv"]))[1] == ("b", "b.csv", "d.csv")
    strange = parquet.rename(parquet.with_name("a=b.parquet"))
    assert names_of(DataSource.of([strange]))[0][0] == "a=b"  # the path of a file, as written


def test_recipe_lists_corpora(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        '[corpora.raf]\ndata = "raf.parquet"\nlabels = "hard"\n[corpora.fer]\ndata = "fer.parquet"\n'
        'validation = "public.parquet"\nlabels = "ferplus"\n'
    )
    recipe = load_recipe(file)
    assert names_of(DataSource.of(recipe=recipe)) == [
        ("raf", "raf.parquet", None), ("fer", "fer.parquet", "public.parquet")
    ]  # fmt: skip
    changed = DataSource.of(["raf=r.csv", "c.csv"], ["fer=v.csv"], recipe)
    assert names_of(changed) == [("raf", "r.csv", None), ("fer", "fer.parquet", "v.csv"), ("c", "c.csv", None)]
    assert [one.labels for one in changed.corpora] == ["hard", "ferplus", None]


@pytest.mark.parametrize(
    ("data", "validation", "words"),
    [
        ([], [], "no faces to train on; expected --data PATH"),
        (["x/a.csv", "y/a.csv"], [], "x/a.csv is called a, too; name them"),
        (["a=x.csv", "b=x.csv"], [], "x.csv: given twice, as a and b"),
        (["a.csv", "b.csv"], ["v.csv"], r"v.csv: expected one --validation per --data, .* found 1 for 2"),
        (["a.csv"], ["b=v.csv"], "v.csv: no corpus is called 'b'; expected a"),
        (["a.csv"], ["a=v.csv", "a=w.csv"], "w.csv: a has the validation set v.csv already"),
    ],
)
def test_wrong_lists_of_corpora_are_refused(data: list[str], validation: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        DataSource.of(data, validation)


def test_corpus_of_a_recipe_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[corpora.raf]\nlabels = "hard"\n')
    with pytest.raises(DataError, match=r"corpora\.raf: no data; give it there, or as --data raf=PATH"):
        DataSource.of(recipe=load_recipe(tmp_path / "r.toml"))


def test_grey_images_for_a_colour_network_are_reported(parquet: Path) -> None:
    messages: list[str] = []
    data = DataSource.of([parquet]).read(Recipe(arch="basecnn", colour=True), messages.append)
    assert data.faces.image.ndim == 3
    assert messages[0] == "little: grey images; a colour network sees them in three equal channels"


def test_augmentation_uses_only_the_requested_kinds() -> None:
    x = torch.rand(16, 1, 48, 48)
    first, second = (augment(x, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == x.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, second) and not torch.equal(first, x)
    assert augment(x, torch.Generator(), size_px=40).shape == (16, 1, 40, 40)
    assert torch.allclose(augment(x, torch.Generator(), kinds=()), x, atol=1e-4)
    for kind in PLAIN_KINDS:
        assert not torch.allclose(augment(x, torch.Generator(), kinds=(kind,)), x, atol=1e-4), kind


# -- training runs ----------------------------------------------------------------------------------


def test_training_writes_weights_facts_and_curves(data: TrainingData, tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = replace(TINY, arch="secnn13", epochs=2, window_px=40, mixup=0.2, balance="weights")
    weights = train(data, tmp_path, recipe, on_epoch=lines.append)
    facts = facts_of(weights)
    assert [line.split()[1] for line in lines[:2]] == ["1/2", "2/2"] and lines[2].startswith(
        "alignment: that of FER2013; only"
    )
    assert facts["heads"][0]["labels"] == list(FER2013) and facts["heads"][0]["temperature"] > 0
    assert facts["input_px"] == 48 and facts["epochs"] == 2 and facts["recipe"]["mixup"] == 0.2
    assert weights.stat().st_mode == weights.with_suffix(".json").stat().st_mode
    head, *rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert head == "epoch,rate,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds"
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 500


def test_weights_are_reproducible_from_the_seed(data: TrainingData, tmp_path: Path) -> None:
    first, second = (train(data, tmp_path / name, TINY) for name in "ab")
    other = train(data, tmp_path / "c", replace(TINY, seed=1))
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_single_class_is_refused(data: TrainingData) -> None:
    happy = data.faces.take(data.faces.label == 3)
    with pytest.raises(DataError, match="faces are happiness; expected at least two classes"):
        TrainingData.single(happy, data.validation)


def test_invalid_output_folder_is_refused_before_training(data: TrainingData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: is a file; name a folder"):
        train(data, tmp_path / "file", TINY)


def test_stopped_run_resumes(data: TrainingData, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(line: str) -> None:
        raise Interrupted

    recipe, lines = replace(TINY, epochs=2, schedule="plateau"), []
    whole = train(data, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted):
        train(data, tmp_path / "parts", recipe, on_epoch=stop)
    resumed = train(data, tmp_path / "parts", recipe, on_epoch=lines.append)
    assert lines[0].startswith("1 of 2 epochs") and len(lines) == 3 and resumed.read_bytes() == whole.read_bytes()
    assert (tmp_path / "parts" / "curves.csv").read_text().count("\n") == 3
    finished = train(data, tmp_path / "parts", recipe, on_epoch=lines.append)  # no epochs left
    assert lines[3].startswith("2 of 2 epochs") and len(lines) == 5 and finished.read_bytes() == whole.read_bytes()
    with pytest.raises(DataError, match="another recipe"):
        train(data, tmp_path / "parts", replace(recipe, epochs=3))
    relabelled = replace(data.faces, labels=data.faces.labels[::-1])
    with pytest.raises(DataError, match="other faces"):
        train(TrainingData.single(relabelled, data.validation), tmp_path / "parts", recipe)
    checkpoint = tmp_path / "parts" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"checkpoint\.pt: not a checkpoint"):
        train(data, tmp_path / "parts", recipe)


def test_patience_ends_training_and_keeps_the_best_epoch(data: TrainingData, tmp_path: Path) -> None:
    """With a frozen backbone and a tiny learning rate, no epoch improves on the first."""
    lines: list[str] = []
    recipe = replace(TINY, epochs=9, patience=2, learning_rate=1e-9, freeze=True)
    weights = train(data, tmp_path, recipe, on_epoch=lines.append)
    assert len(lines) == 4 and facts_of(weights)["epochs"] == 3
    best = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["best"]
    assert best["epoch"] == 1 and set(best["net"]) == set(load_file(weights))


def test_learning_rate_falls_after_a_plateau(data: TrainingData, tmp_path: Path) -> None:
    recipe = replace(TINY, epochs=4, schedule="plateau", plateau_epochs=1, plateau_factor=0.1, learning_rate=1e-8)
    trainer = Trainer(data, recipe, "cpu", tmp_path / "none.pt")
    for accuracy in (0.5, 0.4, 0.6):
        trainer.record({"validation_accuracy": accuracy})
    assert trainer._set_rate() == pytest.approx(1e-9)
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(1e-9)


def test_frozen_backbone_does_not_change(data: TrainingData, tmp_path: Path) -> None:
    trainer = Trainer(data, replace(TINY, arch="secnn13", freeze=True), "cpu", tmp_path / "none.pt")
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    trainer.one_epoch()
    changed = {k for k, v in trainer.net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"head.weight", "head.bias"}


def test_two_heads_learn_labels_and_votes(data: TrainingData, tmp_path: Path) -> None:
    both = TrainingData.single(with_votes(data.faces), with_votes(data.validation))
    weights = train(both, tmp_path, replace(TINY, heads="both", refit=True, balance="weights", epochs=2))
    first, second = facts_of(weights)["heads"]
    assert (first["name"], second["name"]) == ("fer2013", "ferplus")
    assert first["temperature"] > 0 and second["temperature"] > 0 and second["labels"] == list(EMOTIONS)
    assert "validation_accuracy_ferplus" in (tmp_path / "curves.csv").read_text()
    classifier = TorchClassifier(str(weights), "cpu", head="ferplus")
    crops = both.validation.image[..., None]
    assert classifier.predict(crops).shape == (14, 8)
    assert TorchClassifier(str(weights), "cpu").predict(crops).shape == (14, 7)
    votes = np.sort(classifier.logits(crops)[:, 7:], 1)
    assert (classifier.logits(crops)[:, 14] == votes[:, -2]).mean() > 0.8  # contempt ranks second for most faces
    with pytest.raises(DataError, match="needs votes"):
        train(data, tmp_path / "x", replace(TINY, heads="both"))


def soft_targets(faces: FaceSet, recipe: Recipe) -> np.ndarray:
    targets = distillation_targets(faces, find_tasks(faces, recipe), recipe, "cpu")
    assert targets is not None
    return targets.numpy()


def test_student_approaches_its_teacher(data: TrainingData, tmp_path: Path) -> None:
    """The teacher predicts disgust for every face."""
    weights = train(data, tmp_path / "teacher", TINY)
    tensors = load_file(weights)
    tensors["head.bias"] = torch.tensor([0.0, 60, 0, 0, 0, 0, 0])
    facts = facts_of(weights)
    del facts["sha256"]
    teacher = tmp_path / "disgusted.safetensors"
    save_file(tensors, teacher)
    teacher.with_suffix(".json").write_text(json.dumps(facts))

    recipe = replace(TINY, epochs=3, teacher_weight=0.9, ema_decay=0.0)
    plain, distilled = (
        TorchClassifier(str(train(data, tmp_path / name, replace(recipe, teacher=teachers))), "cpu")
        for name, teachers in (("plain", ()), ("distilled", (str(teacher), str(teacher))))
    )
    disgusted = [
        softmax(classifier.logits(data.validation.image[..., None]), 1)[:, 1].mean()
        for classifier in (plain, distilled)
    ]
    assert disgusted[1] > disgusted[0] + 0.2
    other = TrainingData.single(*(replace(f, labels=(*FER2013[:6], "contempt")) for f in (data.faces, data.validation)))
    with pytest.raises(DataError, match="must know"):
        train(other, tmp_path / "x", replace(recipe, teacher=(str(teacher),)))


def test_teacher_contributes_to_the_heads_whose_classes_it_has(data: TrainingData, tmp_path: Path) -> None:
    """One teacher has only the labels' classes, one has both heads: only the second contributes to the votes."""
    both = replace(TINY, heads="both", bf16="off")
    data = TrainingData.single(with_votes(data.faces), with_votes(data.validation))
    labels_teacher = str(train(data, tmp_path / "labels", TINY))
    both_teacher = str(train(data, tmp_path / "both", both))
    tasks = find_tasks(data.faces, both)
    single, together = (
        soft_targets(data.faces, replace(both, teacher=names))
        for names in ((both_teacher,), (labels_teacher, both_teacher))
    )
    np.testing.assert_array_equal(single[:, 7:], together[:, 7:])
    assert abs(single[:, :7] - together[:, :7]).max() > 1e-3
    np.testing.assert_allclose(together[:, :7].sum(1), 1, rtol=1e-5)
    with pytest.raises(DataError, match="a teacher of ferplus must know"):
        distillation_targets(data.faces, tasks, replace(both, teacher=(labels_teacher,)), "cpu")
    mirrored = replace(data.faces, image=np.ascontiguousarray(data.faces.image[:, :, ::-1]))
    flipped = replace(both, teacher=(both_teacher,))
    np.testing.assert_allclose(soft_targets(mirrored, flipped), single, atol=1e-6)
    moved = replace(flipped, augment_kinds=("move",))
    assert abs(soft_targets(mirrored, moved) - soft_targets(data.faces, moved)).max() > 1e-3


def test_refitting_the_head_improves_accuracy(data: TrainingData, tmp_path: Path) -> None:
    plain, refit = (train(data, tmp_path / str(yes), replace(TINY, refit=yes)) for yes in (False, True))
    assert facts_of(refit)["heads"][0]["validation_accuracy"] > facts_of(plain)["heads"][0]["validation_accuracy"]


@pytest.mark.slow
def test_training_with_two_processes_is_reproducible(data: TrainingData, tmp_path: Path) -> None:
    recipe = replace(TINY, workers=2, epochs=2)
    first, second = (train(data, tmp_path / name, recipe) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a" / "curves.csv").read_text().count("\n") == 3
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_two_processes_give_the_same_distillation_targets(data: TrainingData, tmp_path: Path) -> None:
    faces = some_faces(31)
    recipe = replace(TINY, teacher=(str(train(data, tmp_path / "teacher", TINY)),))
    with spawn(2, soft_targets, (faces, recipe)):
        shared = soft_targets(faces, recipe)
    np.testing.assert_allclose(shared, soft_targets(faces, recipe), atol=1e-6)


def fail() -> None:
    raise ValueError("failure in a process")


@pytest.mark.slow
def test_failing_process_ends_the_run() -> None:
    with pytest.raises(RunError, match="failure in a process"), spawn(2, fail, ()):
        torch.distributed.barrier()
    assert not torch.distributed.is_initialized()


def test_workers_need_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "resolve_device", lambda device: device)
    with pytest.raises(DeviceError, match="workers = 2 share the cores of a CPU"):
        train_module.preflight([TINY, replace(TINY, workers=2)], "cuda:0")


def test_one_worker_starts_no_process_group() -> None:
    with spawn(1, print, ()):
        assert not torch.distributed.is_initialized()


# -- recipes and sweeps -----------------------------------------------------------------------------


def test_recipe_combines_file_and_options(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('arch = "baseline"\nmixup = 1\naugment_kinds = ["flip"]\npatience = 3\nfreeze = true\n')
    recipe = load_recipe(path, arch="secnn15", epochs=None)
    assert (recipe.arch, recipe.mixup, recipe.augment_kinds, recipe.epochs) == ("secnn15", 1.0, ("flip",), 28)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("archh = 'x'", r"unknown key 'archh'; did you mean 'arch'\?$"),
        ("zzz = 1", "unknown key 'zzz'; expected one of arch, init, freeze"),
        ("arch = 'x'", "expected one of seresnet, mobilefacenet"),
        ("epochs = 0", "epochs = 0: expected 1 to"),
        ("epochs = 1.5", "expected a whole number"),
        ("freeze = 1", "expected true or false"),
        ("teacher = 'a'", "expected a list of texts"),
        ("augment_kinds = ['colour']", "expected one of flip"),
        ("heads = 'both'\nlabels = 'ferplus'", "makes both the same"),
        ("window_px = 64", "must fit into the image of 48"),
        ("window_px = 40\narch = 'baseline'", "need faces of one size"),
        ("epochs", "not a readable TOML"),
    ],
)
def test_recipe_error_names_file_and_key(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_missing_recipe_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"r\.toml: no such file; expected a TOML file$"):
        load_recipe(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_grid(tmp_path, TINY)


def test_option_error_does_not_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("epochs = 3")
    with pytest.raises(ConfigError, match="mixup = 11: expected 0 to 10") as caught:
        load_recipe(path, mixup=11.0)
    assert str(path) not in str(caught.value)


def test_grid_has_every_combination(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text('arch = ["basecnn", "baseline"]\nseed = [0, 1]\nepochs = 2\nteacher = ["a"]\n')
    grid = load_grid(path, TINY)
    assert [changes for changes, _ in grid][1] == {"arch": "basecnn", "seed": 1}
    assert len(grid) == 4 and all(r.epochs == 2 and r.batch_size == 8 and r.teacher == ("a",) for _, r in grid)
    path.write_text('arch = "basecnn"')
    with pytest.raises(ConfigError, match="list of values"):
        load_grid(path, TINY)


def test_sweep_writes_a_table(data: TrainingData, tmp_path: Path) -> None:
    grid = [({"seed": seed}, replace(TINY, seed=seed)) for seed in (0, 1)]
    loaded: list[Recipe] = []
    rows = sweep(lambda recipe: loaded.append(recipe) or data, grid, tmp_path)  # type: ignore[func-returns-value]
    assert len(loaded) == 1  # both runs read the same faces
    assert rows[0]["accuracy"] >= rows[1]["accuracy"]
    head, *lines = (tmp_path / "results.csv").read_text().splitlines()
    assert head == "run,seed,accuracy,temperature,epochs,weights,seconds"
    assert [line.split(",")[0] for line in lines] == [row["run"] for row in rows]
    assert all(Path(row["weights"]).is_file() for row in rows)


def test_repeated_sweep_reports_the_original_training_time(data: TrainingData, tmp_path: Path) -> None:
    def repeat() -> float | None:
        (row,) = sweep(lambda recipe: data, [({"seed": 0}, TINY)], tmp_path)
        return row["seconds"]

    repeat()
    curves = tmp_path / "seed=0" / "curves.csv"
    curves.write_text("epoch,seconds\n1,1000.5\n2,2000\n")  # a repeated sweep does not train
    assert repeat() == 3000.5
    curves.unlink()
    assert repeat() is None


def test_command_trains_and_sweeps(parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("batch_size = 16\nvote_weight = 0\n")
    args = ["--data", parquet, "--recipe", tmp_path / "r.toml", "--arch", "basecnn", "--epochs", 1, "--device", "cpu"]
    code, printed, _ = run("train", *args, "--out", tmp_path / "one")
    assert code == 0 and f"weights: {tmp_path / 'one' / 'model.safetensors'}" in printed
    assert facts_of(tmp_path / "one" / "model.safetensors")["recipe"]["batch_size"] == 16
    (tmp_path / "g.toml").write_text('balance = ["none", "weights"]')
    code, printed, _ = run("train", *args, "--out", tmp_path / "many", "--sweep", tmp_path / "g.toml")
    assert code == 0 and "balance=weights" in printed.splitlines()[-2] + printed.splitlines()[-3]
    assert (tmp_path / "many" / "results.csv").read_text().count("\n") == 3
