"""The training job for a GPU, rehearsed on the CPU: packing, the plan by the clock, networks, ensemble and student."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.lab.data.datasets import FERPLUS, FaceSet
from fervid.lab.data.face_alignment import RAFDB_ALIGNMENT
from fervid.lab.training.augment import augment, change_pixels
from fervid.lab.training.data import Corpus, TrainingData
from fervid.lab.training.degrade import degrade
from fervid.lab.training.kinds import KINDS
from fervid.lab.training.resample import identity, random_moves, resample
from tests.benchmarks.gpu_training import FACES, RECIPE, main, read_pack, read_plan, write_pack
from tests.helpers.face_sets import some_faces

RECIPE_TOML = """
arch = "basecnn"
size_px = 16
colour = true
heads = "joint"
epoch_pictures = 32
batch_size = 8
logit_adjustment = true
augment_kinds = ["flip", "shake"]
[corpora.grey]
[corpora.colour]
"""
PLAN_TOML = """
[networks.one]
seed = 1
minutes = 4
[networks.two]
seed = 2
minutes = 2
[student]
minutes = 1
"""


def coloured(n: int, seed: int) -> FaceSet:
    grey = some_faces(n, "colours", seed)
    placement = np.tile(np.array([[0.9, 0, 0.05], [0, 0.9, 0.05]], np.float32), (n, 1, 1))
    return FaceSet("colours", grey.labels, np.repeat(grey.image[..., None], 3, 3), grey.label, placement=placement)


@pytest.fixture
def material() -> TrainingData:
    votes = np.eye(8, dtype=np.float32)[np.arange(28) % 8]
    grey = some_faces(28)
    grey = FaceSet("grey", grey.labels, grey.image, grey.label, votes, FERPLUS, labelling="fer2013")
    corpora = (Corpus("grey", grey, some_faces(14, seed=1)), Corpus("colour", coloured(28, 2), coloured(14, 3)))
    return TrainingData(corpora, RAFDB_ALIGNMENT)


def test_packed_faces_are_the_same_but_for_compression(material: TrainingData, tmp_path: Path) -> None:
    write_pack(material, tmp_path / FACES)
    packed = read_pack(tmp_path / FACES)
    assert packed.aligned == material.aligned
    for before, after in zip(material.corpora, packed.corpora, strict=True):
        assert before.name == after.name
        for one, other in ((before.faces, after.faces), (before.validation, after.validation)):
            for key in ("name", "labels", "vote_labels", "labelling"):
                assert getattr(one, key) == getattr(other, key)
            assert one.image.shape == other.image.shape
            assert np.abs(one.image.astype(int) - other.image).mean() < 10
            for key in ("label", "votes", "placement"):
                np.testing.assert_array_equal(getattr(one, key), getattr(other, key))


def test_the_longest_network_and_the_student_fill_the_time(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN_TOML)
    plan = read_plan(tmp_path / "plan.toml", 360)  # of which 60 are for everything else
    assert list(plan) == ["one", "two", "student"]
    assert [round(one["minutes"], 6) for one in plan.values()] == [4, 2, 1]
    assert sum(read_plan(tmp_path / "plan.toml", 60)[name]["minutes"] for name in ("one", "student")) == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_stays_on_the_device_of_the_images(channels: int) -> None:
    """Under another default device, a tensor that is made without a device of its own fails to mix with the images."""
    generator, place = torch.Generator().manual_seed(0), identity(4)
    grey = torch.arange(4 * 48 * 48).view(4, 48, 48).byte()
    with torch.device("meta"):
        moved = random_moves(4, generator, strength=1, kinds=KINDS)
        x = resample(grey, moved, 40, channels)
        resample(grey[..., None].expand(-1, -1, -1, 3), place, 40, channels)
        for _ in range(8):
            x = degrade(x, generator, strength=3, kinds=KINDS)
            x = change_pixels(x, generator, strength=3, kinds=KINDS)
        if channels == 1:
            x = augment(x, generator, strength=3, kinds=KINDS)
    assert x.device.type == "cpu" and x.shape == (4, channels, 40, 40)


@pytest.mark.slow
def test_the_whole_job_on_a_cpu(material: TrainingData, tmp_path: Path) -> None:
    packed, out = tmp_path / "packed", tmp_path / "out"
    packed.mkdir()
    write_pack(material, packed / FACES)
    (packed / RECIPE).write_text(RECIPE_TOML)
    (tmp_path / "plan.toml").write_text(PLAN_TOML)
    main(
        [
            *("run", str(packed), "--out", str(out), "--plan", str(tmp_path / "plan.toml")),
            *("--device", "cpu", "--seconds", "6"),
        ]
    )
    results = json.loads((out / "results.json").read_text())
    assert results["failed"] == []
    assert {"grey: one", "grey: ensemble", "colour: student"} <= set(results["figures"])
    assert sorted(path.name for path in out.iterdir()) == [
        "one.safetensors",
        "results.json",
        "student.safetensors",
        "two.safetensors",
    ]
    (out / "student.json").write_text(json.dumps(results["student.json"]))
    assert TorchClassifier(str(out / "student.safetensors"), "cpu").channels == 3
