"""Placing, moving and degrading the images of a batch, and the crops that teachers see."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fervid.faces.crop import FaceAlignment
from fervid.lab.data.datasets import FER2013, FaceSet
from fervid.lab.training.degrade import degrade
from fervid.lab.training.distillation import teacher_views
from fervid.lab.training.kinds import VIDEO_KINDS
from fervid.lab.training.resample import identity, random_moves, resample
from tests.helpers.face_sets import encoded


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    """Make images without detail, so that any resampling gives the same; grey without a last axis."""
    rng = np.random.default_rng(seed)
    x = np.arange(side) / side
    waves = [
        [128 + 100 * np.sin(3 * x[:, None] * a + b) * np.cos(3 * x[None] * b + a) for a, b in rng.random((channels, 2))]
        for _ in range(n)
    ]
    image = np.moveaxis(np.array(waves), 1, -1).round().astype(np.uint8)
    return image[..., 0] if channels == 1 else image


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_gives_the_image(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3)[: 4 if channels == 3 else 3]).astype(np.uint8)
    x = (resample(image, identity(3), 20, channels) * 255).round().byte()
    assert np.array_equal(x.permute(0, 2, 3, 1).numpy().reshape(image.shape), image)
    repeated = resample(image, identity(3), 20, 4 - channels)
    assert repeated.shape == (3, 4 - channels, 20, 20)
    if channels == 1:
        assert torch.equal(repeated[:, 0], repeated[:, 2])
    else:
        grey = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in image])
        np.testing.assert_allclose(repeated[:, 0].numpy() * 255, grey, atol=1)


@pytest.mark.parametrize(("stored", "side"), [(40, 20), (90, 20), (24, 40), (33, 33)])
def test_size_does_not_move_the_image(stored: int, side: int) -> None:
    """At any pair of sizes, with or without a placement, each pixel shows the same part of the face."""
    place = torch.tensor([[0.8, 0.1, 0.03], [-0.1, 0.8, 0.12]]).repeat(2, 1, 1)
    fine = smooth(2, 400, 3)
    small = np.stack([np.asarray(Image.fromarray(one).resize((stored, stored), Image.Resampling.BOX)) for one in fine])
    for map_ in (identity(2), place):
        found, expected = resample(small, map_, side, 3), resample(fine, map_, side, 3)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=0.03)


def test_shrinking_does_not_alias() -> None:
    board = (np.indices((96, 96)).sum(0) % 2 * 255).astype(np.uint8)[None]
    x = resample(board, torch.tensor([[[0.97, 0.02, 0.01], [-0.02, 0.97, 0.02]]]), 24, 1)
    assert abs(x - 0.5).max() < 0.05


def test_outside_repeats_the_edge() -> None:
    image = np.full((1, 16, 16), 90, np.uint8)
    x = resample(image, torch.tensor([[[3.0, 0, -1], [0, 3, -1]]]), 16, 3)
    np.testing.assert_allclose(x.numpy() * 255, 90, atol=1e-3)


def test_moves_mirror_half_and_stay_near() -> None:
    moves = random_moves(2000, generator(), strength=1.0, kinds=("flip", "shake"))
    mirrored = torch.linalg.det(moves[:, :, :2]) < 0
    assert 0.45 < mirrored.float().mean() < 0.55
    plain = moves[~mirrored]
    centre = plain @ torch.tensor([0.5, 0.5, 1.0])
    assert (centre - 0.5).std() == pytest.approx(0.025, rel=0.1) and abs((centre - 0.5).mean()) < 0.003
    angle = torch.atan2(plain[:, 1, 0], plain[:, 0, 0])
    assert angle.abs().max() <= 0.2621 and angle.std() == pytest.approx(0.103, rel=0.1)
    assert torch.linalg.det(plain[:, :, :2]).log().std() == pytest.approx(0.1, rel=0.1)  # area: twice the scale
    still = random_moves(5, generator(), strength=0.0, kinds=("shake", "move"))
    assert torch.allclose(still, identity(5))
    image = smooth(1, 30, 3)
    flip = next(m for m in random_moves(9, generator(), strength=0.0, kinds=("flip",)) if m[0, 0] < 0)
    found = resample(image, flip[None], 30, 3)
    np.testing.assert_allclose(found.numpy(), resample(image, identity(1), 30, 3).flip(-1).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in VIDEO_KINDS if kind != "shake"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_kind_changes_some_images_within_range(kind: str, channels: int) -> None:
    x = torch.rand(60, channels, 20, 20, generator=generator())
    found = degrade(x.clone(), generator(1), kinds=(kind,))
    changed = (found != x).flatten(1).any(1)
    assert found.shape == x.shape and found.min() >= 0 and found.max() <= 1
    assert changed.any() != (kind == "grey" and channels == 1) and not changed.all()
    assert torch.equal(found, degrade(x.clone(), generator(1), kinds=(kind,)))
    assert torch.equal(x, degrade(x.clone(), generator(1), strength=0.0, kinds=(kind,)))
    if kind in ("grey", "covered") and channels == 3:
        alike = (found == found[:, :1]).all(1)
        assert (alike.flatten(1).all(1) if kind == "grey" else alike.flatten(1).any(1))[changed].all()


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_resembles_pillows(channels: int) -> None:
    """The difference to a JPEG of medium quality is as small as that between neighbouring qualities."""
    rng = np.random.default_rng(2)
    image = smooth(40, 48, channels).astype(int)
    image = (image + rng.integers(-12, 12, image.shape)).clip(0, 255)
    x = torch.from_numpy(image.astype(np.float32) / 255).reshape(40, 48, 48, channels).permute(0, 3, 1, 2).contiguous()
    found = degrade(x.clone(), generator(3), strength=5.0, kinds=("jpeg",))
    error = (found - x).square().mean((1, 2, 3)).sqrt().numpy() * 255
    pillow = []
    for quality in (20, 70):
        files = [io.BytesIO(encoded(one.astype(np.uint8), "jpeg", quality=quality)) for one in image]
        decoded = [np.asarray(Image.open(file)) for file in files]
        pillow.append(np.sqrt(np.mean((np.array(decoded, float) - image) ** 2)))
    assert pillow[1] * 0.8 < error.min() and error.max() < pillow[0] * 1.25


def test_teacher_sees_its_own_crop() -> None:
    """The teacher's landmarks lie in the stored image where its own training images have them: it sees the image."""
    theirs = FaceAlignment(((0.32, 0.39), (0.69, 0.39), (0.5, 0.6), (0.35, 0.79), (0.66, 0.79)), 0.92, 1.0)
    points = np.array(theirs.landmarks)
    linear = np.array([[1.2, 0.1], [-0.05, 0.9]])
    offset = np.array([0.02, 0.01])
    ours = FaceAlignment(tuple(map(tuple, (points @ linear.T + offset).tolist())), 0.9, 1.0)
    back = np.linalg.inv(linear)
    place = np.concatenate([back, (-back @ offset)[:, None]], 1).astype(np.float32)
    image = smooth(3, 40, 3)
    faces = FaceSet("x", FER2013, image, np.arange(3), placement=np.tile(place, (3, 1, 1)))
    teacher = SimpleNamespace(crop_px=40, channels=3, alignment=theirs)
    (seen,) = teacher_views(teacher, faces, ours)  # type: ignore[arg-type]
    np.testing.assert_allclose(seen.astype(float), image, atol=2)
    teacher.channels, teacher.crop_px = 1, 20
    (grey,) = teacher_views(teacher, faces, ours)  # type: ignore[arg-type]
    assert grey.shape == (3, 20, 20, 1)
    teacher.alignment = replace(ours)
    (same,) = teacher_views(teacher, faces, ours)  # type: ignore[arg-type]
    expected = resample(image, torch.from_numpy(faces.placement), 20, 1)[:, 0] * 255
    np.testing.assert_allclose(same[..., 0], expected.numpy(), atol=1)
    wider = replace(theirs, crop_scale=2.0)
    teacher.alignment, teacher.crop_px = wider, 40
    (wide,) = teacher_views(teacher, faces, ours)  # type: ignore[arg-type]
    centre = resample(image, torch.tensor([[[2.0, 0, -0.5], [0, 2, -0.5]]]).repeat(3, 1, 1), 40, 1)[:, 0] * 255
    np.testing.assert_allclose(wide[..., 0].astype(float), centre.numpy(), atol=2)


def test_teacher_sees_whole_images_that_lie_as_it_learned_them() -> None:
    """The median face lies so; the others are not moved."""
    alignment = FaceAlignment(((0.32, 0.39), (0.69, 0.39), (0.5, 0.6), (0.35, 0.79), (0.66, 0.79)), 0.92, 1.0)
    ours = replace(alignment, box=0.9)  # placed by the same landmarks
    place = np.tile(np.eye(2, 3, dtype=np.float32), (5, 1, 1))
    place[0, :, 2] = 0.2
    image = smooth(5, 24, 1)
    faces = FaceSet("x", FER2013, image, np.arange(5), placement=place)
    teacher = SimpleNamespace(crop_px=24, channels=1, alignment=alignment)
    (seen,) = teacher_views(teacher, faces, ours)  # type: ignore[arg-type]
    assert np.array_equal(seen[..., 0], image)
