"""Boxes, and the crops of each frame."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.faces.crop import FaceAlignment, crop_face, square_places
from fervid.faces.detect import detect
from fervid.types import FaceBatch, FrameBatch
from tests.helpers.fakes import AFFINE, DARK, PLAIN, FakeDetector, draw_faces, same, split
from tests.helpers.hypothesis_settings import steady


def scaled(crop_scale: float) -> FaceAlignment:
    return replace(PLAIN, crop_scale=crop_scale)


def frame_batch(*luma: np.ndarray, image: list[np.ndarray] | None = None, first: int = 0) -> FrameBatch:
    """One sample per 0.2 s; the images are the luma planes by default."""
    times = (first + np.arange(len(luma))) / 5
    grey = np.stack(image or luma)
    return FrameBatch(times, np.full(len(luma), 0.24), np.repeat(grey[..., None], 3, 3), luma)


def found(
    *batches: FrameBatch,
    size: tuple[int, int] = (64, 48),
    alignment: FaceAlignment = PLAIN,
    min_face_px: float = 4,
    channels: int = 1,
):
    shown = [replace(batch, size_px=size) for batch in batches]
    how = {"alignment": alignment, "crop_px": 8, "channels": channels}
    return list(detect(shown, FakeDetector(), **how, min_face=lambda size_px: min_face_px / size_px[0]))


def test_limited_luma_is_stretched_in_the_crop():
    luma = np.full((40, 40), 16, np.uint8)
    luma[:, 20:] = 235
    crop = crop_face(luma, square_places(np.array([[20.0, 20, 20, 0]]))[0], 10, limited=True)
    assert (crop[:, :4] == 0).all() and (crop[:, 6:] == 255).all()
    batch = FrameBatch(
        np.zeros(1),
        np.ones(1),
        np.repeat(draw_faces((4, 4, 20, 20))[None, ..., None], 3, 3),
        (np.full((48, 64), 125, np.uint8),),
        (True,),
    )
    assert (found(batch)[0].crop == 127).all()


# -- detect ---------------------------------------------------------------------------------------------


def test_boxes_come_out_in_displayed_pixels():
    small, large = draw_faces((8, 6, 20, 18)), draw_faces((16, 12, 40, 36), size=(128, 96))
    (batch,) = found(frame_batch(large, image=[small]), size=(128, 96))
    assert batch.box_px.tolist() == [[16, 12, 40, 36]]
    assert batch.landmarks_px[0, 2].tolist() == pytest.approx([16 + 0.5 * 24, 12 + 0.6 * 24])
    assert (batch.crop[0] > 127).all()
    assert batch.score.tolist() == pytest.approx([250 / 255])


def test_width_and_height_have_their_own_scales():
    # an image of 32 x 48 for a video of 64 x 48
    (batch,) = found(frame_batch(draw_faces(), image=[draw_faces((8, 6, 16, 22), size=(32, 48))]))
    assert batch.box_px.tolist() == [[16, 6, 32, 22]]


def test_non_square_pixels_give_square_faces():
    # stored 64 x 48, displayed 128 x 48: a face displayed at 40..72 x 8..40 lies in stored columns 20..36
    stored = draw_faces((20, 8, 36, 40))
    (batch,) = found(frame_batch(stored, image=[draw_faces((40, 8, 72, 40), size=(128, 48))]), size=(128, 48))
    assert batch.box_px.tolist() == [[40, 8, 72, 40]]
    assert (batch.crop[0, 1:-1, 1:-1] == 250).all() and (
        batch.crop > 127
    ).all()  # the border is mixed with its surroundings
    (wider,) = found(
        frame_batch(stored, image=[draw_faces((40, 8, 72, 40), size=(128, 48))]),
        size=(128, 48),
        alignment=scaled(2.0),
    )
    # twice the side: the face fills the middle 4 of 8 pixels, across and down
    bright = wider.crop[0, ..., 0] > 200
    assert (bright.any(0).sum(), bright.any(1).sum()) == (4, 4)


@pytest.mark.parametrize("min_face_px, faces", [(16, 1), (24, 1), (25, 0)])
def test_the_smallest_face_is_in_pixels_of_the_video(min_face_px, faces):
    small, large = draw_faces((8, 6, 20, 18)), draw_faces((16, 12, 40, 36), size=(128, 96))  # 24 pixels, 12 here
    (batch,) = found(frame_batch(large, image=[small]), size=(128, 96), min_face_px=min_face_px)
    assert len(batch) == faces


def test_samples_without_a_face_are_passed_on():
    empty = draw_faces()
    (batch,) = found(frame_batch(empty, draw_faces((4, 4, 20, 20)), empty))
    assert batch.sampled_s.tolist() == [0, 0.2, 0.4] and batch.duration_s.tolist() == [0.24] * 3
    assert batch.pts_s.tolist() == [0.2]
    (none,) = found(frame_batch(empty))
    assert (len(none), none.crop.shape, none.sampled_s.tolist()) == (0, (0, 8, 8, 1), [0])


def test_each_face_is_cut_from_its_own_frame():
    bright = [100 + 10 * i for i in range(1, 13)]
    images = [draw_faces((4, 4, 20, 20), (30, 10, 50, 40), bright=b) for b in bright]
    (batch,) = found(frame_batch(*images))
    assert batch.crop[:, 4, 4, 0].tolist() == [b for b in bright for _ in range(2)]
    assert batch.pts_s.tolist() == [i / 5 for i in range(12) for _ in range(2)]


@steady
@given(st.integers(0, 999), st.lists(st.integers(0, 99), max_size=6), st.sampled_from([1, 3]))
def test_faces_do_not_depend_on_batches(seed, cuts, channels):
    random = np.random.default_rng(seed)
    images = []
    for _ in range(10):
        corners = random.integers(0, 30, (random.integers(0, 3), 2))
        boxes = [(x, y, x + random.integers(4, 18), y + random.integers(4, 18)) for x, y in corners]
        images.append(draw_faces(*boxes, bright=int(random.integers(DARK, 255))))
    parts = split(list(enumerate(images)), cuts)
    batches = [frame_batch(*(image for _, image in part), first=part[0][0]) for part in parts]
    for alignment in (scaled(1.4), AFFINE):
        whole = found(frame_batch(*images), alignment=alignment, channels=channels)
        assert same(found(*batches, alignment=alignment, channels=channels), whole)


# -- FaceBatch ------------------------------------------------------------------------------------------


def test_a_batch_checks_the_shapes_of_its_arrays():
    (batch,) = found(frame_batch(draw_faces((4, 4, 20, 20))))
    columns = vars(batch)
    for name, wrong in (
        ("box_px", columns["box_px"].astype(np.float64)),
        ("box_px", columns["box_px"][:, :3]),
        ("score", np.zeros(2, np.float32)),
        ("crop", columns["crop"].astype(np.float32)),
        ("duration_s", np.zeros(5)),
    ):
        with pytest.raises(ValueError, match="FaceBatch"):
            FaceBatch(**{**columns, name: wrong})


def test_the_repr_of_a_batch_has_shapes_and_no_pixels():
    (batch,) = found(frame_batch(draw_faces((4, 4, 20, 20))))
    assert "crop=uint8[1, 8, 8, 1]" in repr(batch) and len(repr(batch)) < 300


def test_taking_faces_keeps_the_samples():
    (batch,) = found(frame_batch(draw_faces((4, 4, 20, 20), (30, 4, 50, 20)), draw_faces()))
    kept = batch.take(batch.box_px[:, 0] > 25)
    assert kept.box_px.tolist() == [[30, 4, 50, 20]] and kept.sampled_s.tolist() == [0, 0.2]
