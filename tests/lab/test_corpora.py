"""Training on several corpora: joint heads, long tails, priors, resuming, layer-wise rates, and bad input."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError, WeightsError
from fervid.lab.data.datasets import FER2013, FERPLUS, FaceSet
from fervid.lab.training.batches import DrawnBatches, placed
from fervid.lab.training.data import Corpus, TrainingData
from fervid.lab.training.distillation import teacher_predictions
from fervid.lab.training.mixture import mixture_of
from fervid.lab.training.optimisation import frozen_stages, optimiser_of, perturbed, stages_of
from fervid.lab.training.pretrained import load_backbone
from fervid.lab.training.priors import Evidence, fit_shared_temperature
from fervid.lab.training.recipe import Recipe, load_recipe, recipes, same_recipe
from fervid.lab.training.targets import Task, loss_of
from fervid.lab.training.train import train
from fervid.lab.training.trainer import Trainer
from fervid.lab.training.validation import figures_of
from fervid.networks.registry import build
from tests.helpers.face_sets import some_faces

SIDE = 16
#: A recipe of several corpora that trains in a second.
TINY = Recipe(
    arch="seresnet", size_px=SIDE, epochs=2, batch_size=16, epoch_pictures=32, warmup_epochs=0.5, dropout=0.0,
    label_smoothing=0.0, heads="joint", optimiser="adamw", bf16="off", logit_adjustment=True,
    augment_kinds=("flip", "shake"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fervid.lab.training.train.draw_curves", lambda path, rows: None)


def drawn_faces(label: np.ndarray, name: str, *, colour: bool = False, seed: int = 0, side: int = SIDE) -> FaceSet:
    """Draw faces whose brightness shows their class, from dark for anger to bright for neutral."""
    shape = (len(label), side, side, 3) if colour else (len(label), side, side)
    noise = np.random.default_rng(seed).integers(0, 24, shape)
    bright = label.reshape(-1, *[1] * (len(shape) - 1)) * 32
    return FaceSet(name, FER2013, (noise + bright).astype(np.uint8), label)


def with_votes(faces: FaceSet) -> FaceSet:
    """Give the label 80% of the votes and contempt 20%; the last face has no votes."""
    votes = np.zeros((len(faces), 8), np.float32)
    votes[np.arange(len(faces)), [FERPLUS.index(faces.labels[k]) for k in faces.label]] = 0.8
    votes[:, FERPLUS.index("contempt")] = 0.2
    votes[-1] = 0
    return replace(faces, votes=votes, vote_labels=FERPLUS)


def jittered(faces: FaceSet, seed: int = 0) -> FaceSet:
    """Place faces a little off the whole image."""
    place = np.tile(np.float32([[0.9, 0, 0.05], [0, 0.9, 0.05]]), (len(faces), 1, 1))
    place += np.random.default_rng(seed).normal(0, 0.01, place.shape).astype(np.float32)
    return replace(faces, placement=place)


@pytest.fixture
def two() -> TrainingData:
    """Grey faces with votes, and larger colour faces with a placement."""
    rest = np.arange(28) % 7
    grey = Corpus(
        "ours", with_votes(drawn_faces(rest, "ours")), with_votes(drawn_faces(rest[:14], "ours, held out", seed=1))
    )
    colour = Corpus(
        "theirs",
        jittered(drawn_faces(rest, "theirs", colour=True, seed=2, side=24)),
        jittered(drawn_faces(rest[:14], "theirs, held out", colour=True, seed=3, side=24)),
    )
    return TrainingData((grey, colour))


def facts_of(weights: Path) -> dict[str, Any]:
    return json.loads(weights.with_suffix(".json").read_text())


# -- what is learned --------------------------------------------------------------------------------


def test_heads_of_a_joint_recipe(two: TrainingData) -> None:
    mixture = mixture_of(two, replace(TINY, vote_weight=0.9, head_weights={"theirs": 0.0, "ferplus": 0.5}), "cpu")
    assert [(task.name, task.first, len(task.labels)) for task in mixture.tasks] == [
        ("seven", 0, 7), ("ours", 7, 7), ("ferplus", 14, 8),
    ]  # fmt: skip
    ours, theirs = mixture.parts
    assert set(ours.heads) == {"seven", "ours", "ferplus"} and set(theirs.heads) == {"seven"}
    assert ours.share == theirs.share == 0.5
    target = mixture.target(ours).numpy()
    np.testing.assert_allclose(target[:, :7].sum(1), 1, rtol=1e-5)  # contempt is left out, the rest renormalised
    np.testing.assert_allclose(target[:-1, 14:].sum(1), 0.5, rtol=1e-5)  # the weight of the head
    assert not target[-1, 14:].any() and target[-1, :7].max() == 1  # without votes, the label teaches
    assert target[0, 14 + FERPLUS.index("contempt")] == pytest.approx(0.1)
    assert not mixture.target(theirs)[:, 7:].any()


def test_targets_mix_votes_and_labels_by_their_weights(two: TrainingData) -> None:
    ours = two.corpora[0].faces
    votes = np.array(ours.votes)
    votes[0] = 0
    votes[0, FERPLUS.index("fear")] = votes[0, FERPLUS.index("contempt")] = 0.5
    votes[1] = np.eye(8)[FERPLUS.index("contempt")]
    data = TrainingData((replace(two.corpora[0], faces=replace(ours, votes=votes)), two.corpora[1]))
    recipe = replace(
        TINY, corpora={"ours": {"vote_weight": 0.75, "label_vote_weight": 0.25, "share": 3}, "theirs": {"share": 1}}
    )
    mixture = mixture_of(data, recipe, "cpu")
    head = mixture.parts[0].heads["seven"]
    assert head.target[0, FER2013.index("fear")] == pytest.approx(0.75) and head.target[0, 0] == pytest.approx(0.25)
    assert head.weight[0] == 1 and head.weight[1] == 0  # all votes are for a class that this head lacks
    assert head.truth[1] == -1 and head.truth[2] == ours.label[2]
    assert mixture.parts[0].heads["ours"].target[0, 0] == pytest.approx(0.75)
    assert mixture.parts[0].share == 0.75


def best_table(data: TrainingData, adjusted: bool) -> np.ndarray:
    """Minimise the loss over a table of logits, appearance x class; give its probabilities."""
    recipe = replace(TINY, heads="hard", logit_adjustment=adjusted, class_power=0.5, vote_weight=0)
    mixture = mixture_of(data, recipe, "cpu")
    logits = torch.zeros(2, 2, requires_grad=True)
    for _ in range(300):
        loss = torch.zeros(())
        for part in mixture.parts:
            rows = torch.from_numpy(part.corpus.faces.image[:, 0, 0].astype(np.int64))
            weight = torch.from_numpy(part.drawn * len(rows)).float()[:, None]
            loss = loss + loss_of(logits[rows] + mixture.shift(part), mixture.target(part) * weight, mixture.tasks)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits.data -= 2 * gradient
    return softmax(logits.detach().numpy(), 1)


def test_logit_adjustment_finds_the_likelihoods_of_a_long_tail() -> None:
    """Of a table of four appearances: the optimum is p(class | appearance) under equal classes, derived by hand."""
    counts = np.array([[30, 10], [10, 2]])  # class x appearance, of one corpus; the other has the reverse tail
    other = np.array([[3, 1], [40, 8]])  # the same p(appearance | class)
    corpora = []
    for name, table in (("a", counts), ("b", other)):
        label = np.repeat([0, 0, 1, 1], table.ravel())
        look = np.repeat([0, 1, 0, 1], table.ravel())
        image = np.tile(look.astype(np.uint8)[:, None, None], (1, SIDE, SIDE))
        faces = FaceSet(name, ("anger", "disgust"), image, label)
        corpora.append(Corpus(name, faces, faces))
    data = TrainingData(tuple(corpora))
    adjusted, plain = (best_table(data, adjusted) for adjusted in (True, False))
    expected = np.array([[0.75, 10 / 12], [0.25, 2 / 12]])  # p(appearance | class): rows appearance
    expected = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(adjusted, expected, atol=0.01)
    assert abs(plain - expected).max() > 0.03


def test_rare_class_of_one_corpus_is_learned_from_the_other(tmp_path: Path) -> None:
    common = np.array([0, 6] * 20)
    rare = np.array([0, 3, 6] * 14)  # happiness is in the second corpus only
    held = np.array([0, 3, 6] * 6)
    data = TrainingData(
        (
            Corpus("first", drawn_faces(np.append(common, 3), "first"), drawn_faces(held, "held", seed=5)),
            Corpus("second", drawn_faces(rare, "second", seed=6), drawn_faces(held, "held", seed=7)),
        )
    )
    recipe = replace(TINY, arch="basecnn", heads="hard", class_power=0.5, epoch_pictures=160, epochs=3, ema_decay=0.8)
    weights = train(data, tmp_path, recipe)
    figures = facts_of(weights)["validation"]["first"]
    assert figures[next(iter(figures))]["mean_recall"] > 0.9


def test_class_power_draws_rare_classes_more_often(two: TrainingData) -> None:
    label = np.repeat([0, 1], [90, 10])
    faces = drawn_faces(label, "tail")
    data = TrainingData.single(faces, faces)
    for power, share in ((0.0, 0.1), (0.5, 10**0.5 / (10**0.5 + 90**0.5)), (1.0, 0.5)):
        mixture = mixture_of(data, replace(TINY, heads="hard", class_power=power), "cpu")
        assert mixture.parts[0].drawn[label == 1].sum() == pytest.approx(share)


def test_batches_have_the_shares_of_the_corpora(two: TrainingData) -> None:
    recipe = replace(
        TINY, colour=True, epoch_pictures=800, batch_size=80, augment_kinds=(),
        corpora={"ours": {"share": 1}, "theirs": {"share": 3}},
    )  # fmt: skip
    batches = DrawnBatches(mixture_of(two, recipe, "cpu"), recipe)
    one = list(batches.epoch(5, 1.0, 0, 1))
    assert len(one) == 10 and one[0].x.shape == (80, 3, SIDE, SIDE)
    taught = torch.cat([batch.target[:, 14:21].sum(1) > 0 for batch in one])  # the head of the second corpus
    assert taught.float().mean() == pytest.approx(0.75, abs=0.06)
    again = list(batches.epoch(5, 1.0, 0, 1))
    assert all(torch.equal(a.x, b.x) and torch.equal(a.target, b.target) for a, b in zip(one, again))
    assert not torch.equal(one[0].x, next(iter(batches.epoch(6, 1.0, 0, 1))).x)


# -- a whole run ------------------------------------------------------------------------------------


def test_stopped_run_on_several_corpora_resumes(two: TrainingData, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(line: str) -> None:
        raise Interrupted

    recipe = replace(
        TINY, colour=True, dropout=0.2, mixup=0.3, sam=0.05, consistency=1.0, layer_decay=0.5, freeze_blocks=1,
        augment_kinds=("flip", "shake", "jpeg", "noise", "covered"), corpora={"theirs": {"unaligned": 0.5}},
    )  # fmt: skip
    whole = train(two, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted):
        train(two, tmp_path / "parts", recipe, on_epoch=stop)
    resumed = train(two, tmp_path / "parts", recipe)
    assert resumed.read_bytes() == whole.read_bytes()
    facts, curves = facts_of(whole), (tmp_path / "whole" / "curves.csv").read_text().splitlines()
    assert facts["colour"] and facts["mean"] == [0.485, 0.456, 0.406] and facts["input_px"] == SIDE
    assert {"validation_accuracy", "validation_own_recall_theirs_seven"} <= set(curves[0].split(","))
    assert len(curves) == 3
    assert set(facts["validation"]["ours"]) == {"seven", "ours", "ferplus"}
    assert facts["validation"]["theirs"]["seven"].keys() >= {"n", "accuracy", "mean_recall", "ece", "own_prior_ece"}


def test_exported_probabilities_assume_the_stated_prior(two: TrainingData, tmp_path: Path) -> None:
    """softmax(logits / T) of the file is the network's answer under equal classes, times the prior."""
    prior = dict.fromkeys(FER2013, 0.125) | {"neutral": 0.25}
    recipe = replace(TINY, colour=True, prior=prior, export_heads=("ferplus", "seven"), terms="For research.")
    weights = train(two, tmp_path, recipe)
    facts = facts_of(weights)
    assert facts["terms"] == "For research." and [head["name"] for head in facts["heads"]] == ["ferplus", "seven"]
    assert facts["heads"][1]["prior"] == list(prior.values())
    assert all(sum(head["trained_prior"]) == pytest.approx(1, abs=1e-4) for head in facts["heads"])
    assert "bias" in " ".join(load_file(weights)) and load_file(weights)["head.bias"].shape == (15,)
    run = Trainer(two, recipe, "cpu", tmp_path / "checkpoint.pt")
    assert run.finished
    validation = two.corpora[1].validation
    equal = run.predict(validation, run.averaged).numpy()[:, :7]
    crop = (placed(validation, SIDE, 3) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    classifier = TorchClassifier(str(weights), "cpu", "seven")
    expected = softmax(equal / classifier.temperature, 1) * np.array(list(prior.values()))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(classifier.predict(crop), expected, atol=0.02)
    uniform = TorchClassifier(str(weights), "cpu", "seven", prior="uniform").predict(crop)
    np.testing.assert_allclose(uniform, softmax(equal / classifier.temperature, 1), atol=0.02)


def test_one_corpus_may_have_a_joint_recipe_and_run_by_the_clock(tmp_path: Path) -> None:
    faces = with_votes(drawn_faces(np.arange(28) % 7, "one"))
    lines: list[str] = []
    recipe = replace(TINY, minutes=0.02, epoch_pictures=10_000_000, vote_weight=0.9)
    weights = train(TrainingData.single(faces, faces), tmp_path, recipe, on_epoch=lines.append)
    assert "100% of the time" in lines[-2] and facts_of(weights)["epochs"] == 1


def test_checkpoints_from_before_an_option_existed_still_fit() -> None:
    stored = asdict(replace(TINY, seed=3))
    del stored["sam"], stored["corpora"]
    assert same_recipe(stored, replace(TINY, seed=3))
    tables = asdict(replace(TINY, corpora={"a": {"share": 1}}))
    del tables["corpora"]["a"]["unaligned"]
    assert same_recipe(tables, replace(TINY, corpora={"a": {"share": 1}}))
    assert not same_recipe(stored, replace(TINY, seed=4)) and not same_recipe(stored, replace(TINY, seed=3, sam=0.1))


def test_hash_of_one_corpus_is_that_of_earlier_versions() -> None:
    """Computed by version 0.1, whose checkpoints have it."""
    data = TrainingData.single(some_faces(32), some_faces(14, "validation", seed=1))
    assert data.fingerprint == "24891dad842de0fe64ab20c6185b697a87980c15a96310fe9d53125d961cee92"


@pytest.mark.slow
def test_two_processes_share_the_batches_of_several_corpora(two: TrainingData, tmp_path: Path) -> None:
    recipe = replace(
        TINY, arch="basecnn", workers=2, sam=0.05, teacher=("seresnet",), corpora={"theirs": {"teacher_weight": 0.0}}
    )
    first, second = (train(two, tmp_path / name, recipe) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_temperature_and_prior_of_a_mixture_are_found_again() -> None:
    """Drawn from known probabilities: logits that are twice too large need the temperature 2."""
    rng = np.random.default_rng(0)
    prior = np.array([0.2, 0.3, 0.5])
    logits = rng.normal(0, 1.5, (6000, 3))
    prob = softmax(logits + np.log(prior), 1)
    truth = (prob.cumsum(1) < rng.random((6000, 1))).sum(1)
    truth[::7] = -1
    evidence = [Evidence(2 * logits[rows], truth[rows], prior) for rows in (slice(4000), slice(4000, None))]
    assert fit_shared_temperature(evidence, prior) == pytest.approx(2, rel=0.08)
    assert figures_of(evidence[0].known(), prior, 2.0).ece < 0.03
    assert fit_shared_temperature([], prior) == 1


# -- how weights change -----------------------------------------------------------------------------


def test_learning_rates_grow_from_the_first_layers_to_the_head() -> None:
    net = build("mobilefacenet", 7, size_px=SIDE)
    optimiser = optimiser_of(net, replace(TINY, arch="mobilefacenet", layer_decay=0.35, head_factor=3.0))
    of = {id(p): group["factor"] for group in optimiser.param_groups for p in group["params"]}
    factors = {name: of[id(p)] for name, p in net.named_parameters()}
    assert factors["conv1.0.weight"] == pytest.approx(0.35) and factors["gdconv.depthwise.weight"] == 1
    assert factors["head.weight"] == factors["head.bias"] == 3
    steps = [factors[f"blocks.{i}.conv.0.0.weight"] for i in range(15)]
    assert steps == sorted(steps)
    np.testing.assert_allclose(np.diff(np.log(steps)), np.log(steps[1] / steps[0]), rtol=1e-6)
    decays = {p.ndim > 1: group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decays[False] == 0 < decays[True]


def test_frozen_blocks_keep_weights_and_norms(two: TrainingData, tmp_path: Path) -> None:
    recipe = replace(TINY, arch="mobilefacenet", colour=True, freeze_blocks=2, epochs=1)
    trainer = Trainer(two, recipe, "cpu", tmp_path / "none.pt")
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    trainer.one_epoch()
    changed = {k for k, v in trainer.net.state_dict().items() if not torch.equal(v, before[k])}
    frozen = ("conv1.", "dw_conv.", "blocks.0.", "blocks.1.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert {"blocks.2.conv.0.0.weight", "blocks.2.conv.0.1.running_mean", "head.weight"} <= changed


def test_stages_of_a_network_are_in_order() -> None:
    assert [s.name for s in stages_of(build("mobilefacenet", 7))][:4] == ["conv1", "dw_conv", "blocks.0", "blocks.1"]
    assert [s.name for s in stages_of(build("seresnet", 7))] == ["stem", *(f"blocks.{i}" for i in range(6))]
    assert [s.name for s in frozen_stages(build("seresnet", 7), 1)] == ["stem", "blocks.0"]
    with pytest.raises(ConfigError, match="freeze_blocks = 9: the network has 6 blocks"):
        frozen_stages(build("seresnet", 7), 9)


def test_sharpness_aware_step_moves_uphill_and_returns() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    x = torch.randn(8, 3)
    net(x).square().sum().backward()
    grads = [p.grad.clone() for p in net.parameters()]  # type: ignore[union-attr]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with perturbed(net, 0.5):
        moves = [p.detach() - before[name] for name, p in net.named_parameters()]
        assert torch.stack([move.norm() for move in moves]).norm() == pytest.approx(0.5, rel=1e-4)
        assert all(torch.allclose(m * g.norm(), g * m.norm(), atol=1e-4) for m, g in zip(moves, grads))
        net(x)
    after = net.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items() if "num_batches" not in k)


# -- starts -----------------------------------------------------------------------------------------


def test_published_mobilefacenet_fits_any_size(tmp_path: Path) -> None:
    published = build("mobilefacenet", 7, size_px=112).state_dict()
    renamed = {k.replace("blocks.", "features.", 1): v.contiguous() for k, v in published.items() if "head" not in k}
    path = tmp_path / "published.safetensors"
    save_file(renamed | {"bn.weight": torch.zeros(128)}, path)
    net = build("mobilefacenet", 7, size_px=48)
    load_backbone(net, "mobilefacenet", str(path))
    state = net.state_dict()
    assert torch.equal(state["blocks.3.conv.0.0.weight"], published["blocks.3.conv.0.0.weight"])
    flat = torch.full((512, 1, 7, 7), 0.5)
    save_file(renamed | {"gdconv.depthwise.weight": flat}, path)
    load_backbone(net, "mobilefacenet", str(path))
    pooling = net.state_dict()["gdconv.depthwise.weight"]
    assert pooling.shape == (512, 1, 3, 3) and torch.allclose(pooling.sum((2, 3)), flat.sum((2, 3)))


def test_start_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grey.safetensors"
    save_file({k: v.contiguous() for k, v in build("seresnet", 7).state_dict().items()}, path)
    with pytest.raises(WeightsError, match=r"not the weights of a seresnet \(1 of its .* stem\.0\.weight"):
        load_backbone(build("seresnet", 7, channels=3), "seresnet", str(path))
    with pytest.raises(WeightsError, match="not the weights of a mobilefacenet"):
        load_backbone(build("mobilefacenet", 7), "mobilefacenet", str(path))


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("contempt", "anger"), "prior": {"fear": 1.0}}, "prior: expected contempt, anger, found fear"),
        ({"head_weights": {"raf": 1.0}}, "head_weights: no head raf; expected seven, ours, theirs"),
        ({"export_heads": ("raf",)}, "export_heads: no head raf"),
        ({"corpora": {"ours": {"share": 1}}}, "corpora.theirs: share missing; give one to every corpus, or to none"),
        ({"heads": "both"}, 'heads = "both" is for one corpus; several need "joint"'),
        ({"prior": {"anger": 0.5, "fear": 0.5}}, "prior: expected anger, disgust, .*, found anger, fear"),
        ({"freeze_blocks": 9}, "the network has 6 blocks"),
        ({"arch": "basecnn", "consistency": 1.0}, "consistency: needs a network whose head weights the channels"),
    ],
)
def test_recipe_that_does_not_fit_the_corpora(
    changes: dict[str, Any], words: str, two: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        train(two, tmp_path, replace(TINY, **{"size_px": 48, "epochs": 1, **changes}))


def test_class_that_no_corpus_has_is_refused() -> None:
    faces = drawn_faces(np.arange(14) % 7, "plain")
    with pytest.raises(DataError, match="classes: no corpus has contempt; they have anger, disgust"):
        mixture_of(TrainingData.single(faces, faces), replace(TINY, classes=("anger", "contempt")), "cpu")


def test_corpus_that_is_called_as_a_head_is_refused(two: TrainingData) -> None:
    data = TrainingData((two.corpora[0], replace(two.corpora[1], name="ferplus")))
    with pytest.raises(ConfigError, match="a corpus is called ferplus, as another head"):
        mixture_of(data, TINY, "cpu")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prior]\nanger = 0.5\nfear = 0.6", "prior: sums to 1.1; expected 1"),
        ("[prior]\nanger = 0\nfear = 1", "prior: anger = 0: expected more than 0"),
        ("[prior]\nrage = 1", "unknown prior 'rage'"),
        ("[corpora.a]\ndata = 'x'\n[corpora.b]\ndata = 'x'", "corpora.b: x is already the data of corpora.a"),
        ("[corpora.a]\nshares = 1", r"corpora.a: unknown key 'shares'; did you mean 'share'\?"),
        ("[corpora.a]\nshare = 0", "corpora.a: share = 0: expected"),
        ("corpora = 'a'", "corpora = 'a': expected a table"),
        ("[head_weights]\nseven = 'x'", "head_weights: seven = 'x': expected a number"),
        ("classes = ['anger', 'anger']", "expected at least two different ones"),
        ("colour = true\nbalance = 'weights'", "balance = weights: works for images that are passed once"),
        ("colour = true\nrefit = true", "refit = True: works for images that are passed once"),
        ("minutes = 1\nworkers = 2", "a run by the clock has one process"),
    ],
)
def test_recipe_error_names_the_table(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_shipped_recipes_are_found_by_name() -> None:
    for name, path in recipes().items():
        assert load_recipe(Path(name)) == load_recipe(path)
    recipe = load_recipe(Path("mobilefacenet"), epochs=1)
    assert recipe.epochs == 1 and recipe.draws and set(recipe.corpora) == {"fer2013", "rafdb"}
    assert recipe.corpora["rafdb"].share == 0.42
    with pytest.raises(ConfigError, match=r"recipe mobilenet: no such recipe; expected mobilefacenet or a \.toml file"):
        load_recipe(Path("mobilenet"))


def test_teacher_weight_is_a_corpus_of_its_own(two: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher predicts neutral for every face, and only the first corpus gives it weight."""
    asked: list[str] = []

    def answers(faces: FaceSet, tasks: Any, *_: object) -> dict[str, torch.Tensor]:
        asked.append(faces.name)
        return {task.name: torch.eye(len(task.labels))[[task.labels.index("neutral")] * len(faces)] for task in tasks}

    monkeypatch.setattr("fervid.lab.training.mixture.teacher_predictions", answers)
    recipe = replace(
        TINY, teacher=("seresnet",), vote_weight=1.0,
        corpora={"ours": {"teacher_weight": 0.5}, "theirs": {"teacher_weight": 0.0}},
    )  # fmt: skip
    mixture = mixture_of(two, recipe, "cpu")
    assert asked == ["ours"]
    heads = mixture.parts[0].heads
    assert heads["ours"].target[0, FER2013.index("neutral")] == pytest.approx(0.5)
    assert heads["ferplus"].target[0, FERPLUS.index("neutral")] == pytest.approx(0.5)
    assert heads["seven"].target[0, FER2013.index("neutral")] == pytest.approx(0.5 / 0.9)  # contempt left out
    assert mixture.parts[1].heads["seven"].target[0].max() == 1


def test_resumed_run_reads_the_predictions_of_teachers(
    two: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, recipe = two.corpora[0].faces, replace(TINY, teacher=("seresnet",))
    tasks = [Task("labels", FER2013, 0), Task("votes", FERPLUS, 0), Task("other", ("anger", "fear"), 0)]
    first = teacher_predictions(faces, tasks, recipe, "cpu", cache=tmp_path)
    assert first["other"] is None and len(list(tmp_path.iterdir())) == 1

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the teacher ran again")

    monkeypatch.setattr("fervid.lab.training.distillation.TorchClassifier", refuse)
    again = teacher_predictions(faces, tasks, recipe, "cpu", cache=tmp_path)
    assert again["other"] is None and torch.equal(again["votes"], first["votes"])  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="ran again"):
        teacher_predictions(faces, tasks, replace(recipe, augment_kinds=()), "cpu", cache=tmp_path)
