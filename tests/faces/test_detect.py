"""Boxes and crops: their position, their pixels, and their content."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.faces.crop import FaceAlignment, _cut, crop_face, square_places
from fervid.faces.detect import detect
from fervid.types import FaceBatch, FrameBatch
from tests.helpers.fakes import DARK, MARKS, PLAIN, FakeDetector, draw_faces, same, split
from tests.helpers.hypothesis_settings import steady


def scaled(crop_scale: float) -> FaceAlignment:
    return replace(PLAIN, crop_scale=crop_scale)


def upright(box: tuple[float, float, float, float]) -> np.ndarray:
    """Place an upright crop on a square box (x0, y0, x1, y1), in luma pixels."""
    x0, y0, x1, y1 = box
    return square_places(np.array([[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, 0.0]]))[0]


def frame_batch(*luma: np.ndarray, image: list[np.ndarray] | None = None, first: int = 0) -> FrameBatch:
    """One sample per 0.2 s; the images are the luma planes by default."""
    times = (first + np.arange(len(luma))) / 5
    grey = np.stack(image or luma)
    return FrameBatch(times, np.full(len(luma), 0.24), np.repeat(grey[..., None], 3, 3), luma)


def found(
    *batches: FrameBatch, size: tuple[int, int] = (64, 48), alignment: FaceAlignment = PLAIN, min_face_px: float = 4
):
    shown = [replace(batch, size_px=size) for batch in batches]
    options = {"alignment": alignment, "crop_px": 8, "min_face": lambda size_px: min_face_px / size_px[0]}
    return list(detect(shown, FakeDetector(), **options))


# -- crop_face ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box, size", [((10, 10, 50, 50), 10), ((10, 8, 30, 28), 20), ((12.5, 9.5, 32.5, 29.5), 20), ((3, 4, 45, 46), 7)]
)
def test_a_ramp_stays_a_ramp(box, size):
    height, width = 60, 100
    ramp = np.broadcast_to(2 * np.arange(width, dtype=np.uint8), (height, width))
    crop = crop_face(ramp, upright(box), size)
    # pixel i of the crop has its middle (i + 1/2) steps from the box's edge; source pixel k has its own at k + 1/2
    step = (box[2] - box[0]) / size
    exact = 2 * (box[0] + (np.arange(size) + 0.5) * step - 0.5)
    assert np.abs(crop - exact).max() <= 1  # greys are rounded twice


@steady
@given(st.floats(0, 40), st.floats(0, 20), st.floats(4, 40), st.sampled_from([4, 8, 48]))
def test_a_ramp_is_cut_at_the_fraction_of_a_pixel(x, y, side, size):
    ramp = np.broadcast_to(3 * np.arange(80, dtype=np.uint8), (60, 80)).T.copy()  # along the height: 80 x 60
    crop = crop_face(ramp, upright((y, x, y + side, x + side)), size)
    middle = 3 * (x + side / 2 - 0.5)
    assert crop.mean() == pytest.approx(middle, abs=1.2)  # Pillow rounds down when it turns


@pytest.mark.parametrize(
    "box, edge",
    [
        ((-0.5, 0.2, -0.2, 0.6), (slice(None), 0)),
        ((1.1, 0.2, 1.5, 0.6), (slice(None), -1)),
        ((0.2, -0.9, 0.6, -0.1), (0, slice(None))),
        ((0.2, 1.0, 0.6, 1.4), (-1, slice(None))),
    ],
)
def test_pixels_outside_the_frame_repeat_its_edge(box, edge):
    luma = np.full((40, 40), 7, np.uint8)
    luma[edge] = 200
    assert (crop_face(luma, upright(np.array(box) * 40), 8) == 200).all()


def test_half_a_box_outside():
    luma = np.full((40, 40), 250, np.uint8)
    luma[:, 0] = 50
    crop = crop_face(luma, upright((-8, 0, 8, 16)), 16)  # one source pixel per pixel: columns -8 .. 7
    assert (crop[:, :9] == 50).all() and (crop[:, 9:] == 250).all()


def test_a_box_larger_than_the_frame():
    luma = np.full((4, 4), 90, np.uint8)
    assert (crop_face(luma, upright((-200, -200, 200, 200)), 8) == 90).all()


def test_large_boxes_are_antialiased():
    board = np.indices((64, 64)).sum(0) % 2 * 255  # a chessboard fits into 8 x 8 pixels only as grey
    crop = crop_face(board.astype(np.uint8), upright((0, 0, 64, 64)), 8)
    assert np.abs(crop.astype(int) - 127).max() <= 2


@given(at=st.tuples(*[st.integers(-60, 60)] * 2), side=st.tuples(*[st.integers(1, 70)] * 2))
def test_any_rectangle_repeats_the_edges(at, side):
    luma = np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)
    low = np.array(at)
    high = low + side
    columns, rows = (np.clip(np.arange(*ends), 0, size - 1) for *ends, size in zip(low, high, (40, 30)))
    assert np.array_equal(_cut(luma, low, high), luma[np.ix_(rows, columns)])


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("side", [30, 90, 400])
def test_rough_crops_are_nearly_the_same(side, limited):
    down, across = np.indices((400, 500)) / 30
    luma = (125 + 60 * np.sin(down) + 45 * np.cos(across + down)).astype(np.uint8)
    (place,) = square_places(np.array([[240.0, 190.0, side, 0.3]]))
    one, rough = (crop_face(luma, place, 48, limited=limited, rough=rough).astype(int) for rough in (False, True))
    assert np.abs(one - rough).max() <= 3


def test_rotated_luma_is_cut_as_any_other():
    luma = np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)
    (box,) = square_places(np.array([[25.0, 18.0, 20.0, 0.3]]))
    rotated = np.rot90(np.ascontiguousarray(np.rot90(luma)), -1)  # not contiguous, as readers return it
    assert np.array_equal(crop_face(rotated, box, 8), crop_face(luma, box, 8))


# -- alignment ------------------------------------------------------------------------------------------


def test_a_rotated_square_becomes_upright():
    # the lower half of the frame is bright: in a square rotated by a quarter turn, the right half
    luma = np.zeros((60, 60), np.uint8)
    luma[30:] = 200
    crop = crop_face(luma, square_places(np.array([[30, 30, 20, np.pi / 2]]))[0], 8)
    assert (crop[:, :3] == 0).all() and (crop[:, 5:] == 200).all()


@steady
@given(st.floats(-3, 3), st.floats(5, 200), st.floats(-50, 300), st.floats(-50, 300))
def test_squares_recover_the_similarity_that_placed_the_landmarks(angle, side, x, y):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (MARKS.astype(float) - 0.5) * side @ turn.T + [x, y]
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    assert PLAIN.squares(box, landmarks[None])[0] == pytest.approx([x, y, side, angle], abs=1e-3)
    # the box is four times as large as expected, the landmarks as large as expected: geometric mean 2
    larger = replace(PLAIN, box=0.25, crop_scale=1.5)
    assert larger.squares(box, landmarks[None])[0, 2] == pytest.approx(side * 1.5 * 2)


def test_limited_luma_is_stretched_in_the_crop():
    luma = np.full((40, 40), 16, np.uint8)
    luma[:, 20:] = 235
    crop = crop_face(luma, upright((10, 10, 30, 30)), 10, limited=True)
    assert (crop[:, :4] == 0).all() and (crop[:, 6:] == 255).all()
    batch = FrameBatch(
        np.zeros(1),
        np.ones(1),
        np.repeat(draw_faces((4, 4, 20, 20))[None, ..., None], 3, 3),
        (np.full((48, 64), 125, np.uint8),),
        (True,),
    )
    assert (found(batch)[0].crop == 127).all()


def test_a_face_without_extent_has_a_crop():
    (place,) = PLAIN.places(np.array([[5.0, 5, 5, 5]]), np.full((1, 5, 2), 5.0))
    assert crop_face(np.full((20, 20), 90, np.uint8), place, 8).shape == (8, 8)


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
@given(st.integers(0, 999), st.lists(st.integers(0, 99), max_size=6))
def test_faces_do_not_depend_on_batches(seed, cuts):
    random = np.random.default_rng(seed)
    images = []
    for _ in range(10):
        corners = random.integers(0, 30, (random.integers(0, 3), 2))
        boxes = [(x, y, x + random.integers(4, 18), y + random.integers(4, 18)) for x, y in corners]
        images.append(draw_faces(*boxes, bright=int(random.integers(DARK, 255))))
    parts = split(list(enumerate(images)), cuts)
    batches = [frame_batch(*(image for _, image in part), first=part[0][0]) for part in parts]
    whole = found(frame_batch(*images), alignment=scaled(1.4))
    assert same(found(*batches, alignment=scaled(1.4)), whole)


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
    assert "crop=uint8[1, 8, 8, 1]" in repr(batch) and len(repr(batch)) < 250


def test_taking_faces_keeps_the_samples():
    (batch,) = found(frame_batch(draw_faces((4, 4, 20, 20), (30, 4, 50, 20)), draw_faces()))
    kept = batch.take(batch.box_px[:, 0] > 25)
    assert kept.box_px.tolist() == [[30, 4, 50, 20]] and kept.sampled_s.tolist() == [0, 0.2]
