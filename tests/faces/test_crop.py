"""Crops: where they lie on a face, their pixels, and their colours."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from hypothesis import example, given
from hypothesis import strategies as st

from fervid.faces.crop import MOST_PULL, STRETCH, FaceAlignment, _cut, add_colour, crop_face, luma_of, square_places
from fervid.faces.detect import detect
from fervid.faces.detector import Detections
from fervid.lab.data.images import Face
from fervid.types import FaceBatch, concatenate
from fervid.video.open import open_video
from fervid.video.sampling import batch_frames, sample_frames
from tests.helpers.fakes import AFFINE, MARKS, PLAIN
from tests.helpers.hypothesis_settings import steady


def upright(box: tuple[float, float, float, float]) -> np.ndarray:
    """Place an upright crop on a square box (x0, y0, x1, y1), in luma pixels."""
    x0, y0, x1, y1 = box
    return square_places(np.array([[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, 0.0]]))[0]


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


def test_a_face_without_extent_has_a_crop():
    (place,) = PLAIN.places(np.array([[5.0, 5, 5, 5]]), np.full((1, 5, 2), 5.0))
    assert crop_face(np.full((20, 20), 90, np.uint8), place, 8).shape == (8, 8)


# -- the fit "affine" -----------------------------------------------------------------------------------

TEMPLATE = np.array(AFFINE.landmarks)
#: Eyes and the middle of the mouth.
THREE = np.array([TEMPLATE[0], TEMPLATE[1], TEMPLATE[3:].mean(0)])


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Rotate points (..., 2) clockwise, as seen."""
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def landmarks_at(centre: tuple[float, float], side: float, angle: float, width: float = 1.0) -> np.ndarray:
    """Landmarks (5, 2) of a frontal face; a width of 1 is that of most people."""
    return turned((TEMPLATE - 0.5) * side * [width / STRETCH, 1], angle) + centre


def placed(landmarks: np.ndarray, alignment: FaceAlignment = AFFINE) -> np.ndarray:
    """The place of one face; the box is not used."""
    return alignment.places(np.zeros((1, 4)), landmarks[None])[0]


def pull(place: np.ndarray) -> float:
    """How far a place pulls in one direction beyond a similarity that is stretched by STRETCH."""
    largest, smallest = np.linalg.svd(place[:, :2] * [STRETCH, 1], compute_uv=False)
    return largest / smallest


def points_of(place: np.ndarray) -> np.ndarray:
    """Where the three points of the template lie in the frame."""
    return THREE @ place[:, :2].T + place[:, 2]


def three_of(landmarks: np.ndarray) -> np.ndarray:
    return np.array([landmarks[0], landmarks[1], landmarks[3:].mean(0)])


@steady
@given(
    st.tuples(st.floats(0, 500), st.floats(0, 400)),
    st.floats(12, 500),
    st.floats(-3.1, 3.1),
    st.floats(0.9, 1.15),
    st.integers(0, 99),
)
def test_eyes_and_mouth_come_exactly_to_their_places(centre, side, angle, width, seed):
    jitter = np.random.default_rng(seed).uniform(-0.015, 0.015, (5, 2)) * side
    landmarks = landmarks_at(centre, side, angle, width) + jitter
    assert np.abs(points_of(placed(landmarks)) - three_of(landmarks)).max() < 1e-6 * side


@pytest.mark.parametrize("pixel_width", [0.5, 1.0, 1.4])
@pytest.mark.parametrize(
    "centre, side, angle, width",
    [
        ((250, 200), 90, 0.0, 1.0),
        ((260, 190), 320, 0.4, 1.1),
        ((200, 220), 150, -1.2, 0.85),
        ((230, 210), 60, 2.6, 1.25),
        ((30, 25), 75, 0.2, 1.0),  # the crop leaves the frame to the left and at the top
        ((460, 370), 90, -0.5, 0.9),  # to the right and at the bottom
    ],
)
def test_pixels_of_eyes_and_mouth_come_to_their_places(centre, side, angle, width, pixel_width):
    landmarks = landmarks_at(centre, side, angle, width)
    rows, columns = np.indices((400, round(500 * pixel_width))) + 0.5
    luma = np.zeros(rows.shape)
    for x, y in three_of(landmarks):
        distance = ((columns / pixel_width - x) ** 2 + (rows - y) ** 2) / (side / 40) ** 2
        luma += 250 * np.exp(-distance / 2)
    crop = crop_face(luma.astype(np.uint8), placed(landmarks), 80, (pixel_width, 1.0)).astype(float)
    rows, columns = np.indices((80, 80)) + 0.5
    for x, y in THREE * 80:
        weight = crop * (np.hypot(columns - x, rows - y) < 9)
        found = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        assert np.abs(np.subtract(found, (x, y))).max() < 0.5


def test_a_profile_is_not_pulled_apart():
    """A head turns from the front to the side."""
    head = np.array([(-0.31, -0.3, 0), (0.31, -0.3, 0), (0, 0.1, 0.35), (-0.25, 0.5, 0.05), (0.25, 0.5, 0.05)])
    exact = []
    for yaw in np.radians(np.arange(0, 90, 5)):
        across = head[:, 0] * np.cos(yaw) + head[:, 2] * np.sin(yaw)
        landmarks = turned(np.stack([across, head[:, 1]], 1) * 100, 0.3) + np.array([300, 200])
        place = placed(landmarks)
        exact.append(np.abs(points_of(place) - three_of(landmarks)).max() < 1e-6)
        assert np.linalg.det(place[:, :2]) > 0 and pull(place) < MOST_PULL
        assert exact[-1] or pull(place) == pytest.approx(1)
        assert np.abs(points_of(place) - three_of(landmarks)).max() < 35  # of a face of 160
    assert exact == sorted(exact, reverse=True) and exact[0] and exact[6] and not exact[-4]


numbers = st.floats(-3000, 3000, width=32)


@steady
@given(st.lists(st.tuples(numbers, numbers), min_size=5, max_size=5))
@example([(5.0, 5.0)] * 5)
@example([(0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (9.0, 0.0), (9.0, 0.0)])  # in a line
@example([(9.0, 0.0), (0.0, 0.0), (5.0, 5.0), (9.0, 9.0), (0.0, 9.0)])  # seen in a mirror
@example([(0.0, 9.0), (9.0, 9.0), (5.0, 5.0), (0.0, 0.0), (9.0, 0.0)])  # upside down
def test_landmarks_of_any_kind_have_a_place_of_their_own_size(points):
    landmarks = np.array(points, np.float32)
    place, three = placed(landmarks), three_of(landmarks.astype(float))
    spread = np.sqrt(((three - three.mean(0)) ** 2).sum())
    sides = np.linalg.norm(place[:, :2], axis=0)
    assert np.isfinite(place).all() and np.linalg.det(place[:, :2]) > 0 and pull(place) < MOST_PULL
    assert sides.min() > 0 and sides.max() <= max(8 * spread, 1.01)
    if sides.max() < 300:
        assert (crop_face(np.full((20, 20), 90, np.uint8), place, 8) == 90).all()


@steady
@given(st.integers(1, 40), st.integers(0, 99))
def test_the_place_of_a_face_does_not_depend_on_the_others(m, seed):
    random = np.random.default_rng(seed)
    landmarks = (random.uniform(0, 300, (m, 1, 2)) + random.normal(0, 20, (m, 5, 2))).astype(np.float32)
    box = np.concatenate([landmarks.min(1), landmarks.max(1)], 1)
    for alignment in (AFFINE, PLAIN):
        together = alignment.places(box, landmarks)
        alone = [alignment.places(box[i : i + 1], landmarks[i : i + 1])[0] for i in range(m)]
        assert together.tobytes() == np.array(alone).tobytes()
    assert AFFINE.places(box[:0], landmarks[:0]).shape == (0, 2, 3)


def test_the_scale_of_the_crop_widens_the_view_around_its_middle():
    landmarks = landmarks_at((250, 200), 100, 0.3)
    one, wider = placed(landmarks), placed(landmarks, replace(AFFINE, crop_scale=1.5))
    assert wider[:, :2] == pytest.approx(1.5 * one[:, :2])
    assert wider @ [0.5, 0.5, 1] == pytest.approx(one @ [0.5, 0.5, 1])


def test_facts_carry_the_fit():
    assert FaceAlignment.from_facts(AFFINE.to_facts()) == AFFINE
    older = {name: value for name, value in AFFINE.to_facts().items() if name != "fit"}
    assert FaceAlignment.from_facts(older).fit == "similarity"
    with pytest.raises(ValueError, match="similarity or affine"):
        FaceAlignment.from_facts({**older, "fit": "perspective"})


# -- colours --------------------------------------------------------------------------------------------


def test_the_luma_of_grey_is_grey():
    grey = np.arange(256, dtype=np.uint8)
    assert np.array_equal(luma_of(np.repeat(grey[:, None], 3, 1)), grey)


@pytest.mark.parametrize("side", [5, 8, 80])
def test_grey_crops_are_coloured_without_losing_their_detail(side):
    random = np.random.default_rng(0)
    luma = random.integers(80, 150, (4, side, side), np.uint8)
    small = (side + 1) // 2
    grey = np.full((4, small, small, 3), 120, np.uint8)
    tinted = grey + np.array([30, -10, -20]).astype(np.uint8)  # of the same luma, within 1
    for rgb in (grey, tinted):
        coloured = add_colour(luma, rgb).astype(int)
        assert coloured.shape == (4, side, side, 3)
        detail = luma - luma.mean((1, 2), keepdims=True)
        assert np.abs(coloured - rgb[:, :1, :1] - detail[..., None]).max() <= 1.6
        assert np.array_equal(add_colour(luma[2], rgb[2]), coloured[2])
    assert np.ptp(add_colour(luma, grey), axis=3).max() == 0


class Found:
    """A detector that knows the one face of each frame, by its landmarks in displayed pixels."""

    name = "known"

    def __init__(self, landmarks_px: np.ndarray, width_px: int) -> None:
        self.landmarks_px, self.width_px = landmarks_px, width_px

    def detect(self, images: np.ndarray, min_face_px: float) -> Detections:
        """Give the face in the pixels of the images."""
        n, landmarks = len(images), self.landmarks_px * images.shape[2] / self.width_px
        box = np.concatenate([landmarks.min(0), landmarks.max(0)])
        tiled = (np.tile(one, (n, *[1] * one.ndim)).astype(np.float32) for one in (box, landmarks))
        box, landmarks = tiled
        return Detections(np.arange(n), box, np.ones(n, np.float32), landmarks)


def film(path: Path, image: np.ndarray, pixels: str = "yuv420p", matrix: int = 6, n: int = 2) -> Path:
    """Write an image (h, w, 3) as a video of n frames, nearly without loss."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 5, width=image.shape[1], height=image.shape[0], pix_fmt=pixels)
        stream.options = {"crf": "6", "preset": "ultrafast"}
        stream.codec_context.colorspace = matrix
        for _ in range(n):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace={6: 5, 1: 1}[matrix])
            frame.colorspace = matrix
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def crops_of(path: Path, landmarks_px: np.ndarray, *, detection_px: int = 640, channels: int = 3) -> FaceBatch:
    """Crop the face of each frame as the pipeline does."""
    with open_video(path) as reader:
        frames = batch_frames(
            sample_frames(reader.frames(), None), lambda size: (detection_px, round(detection_px * size[1] / size[0]))
        )
        how = {"alignment": AFFINE, "crop_px": 80, "channels": channels, "min_face": lambda _: 0.01}
        return concatenate(list(detect(frames, Found(landmarks_px, reader.info.width_px), **how)))


COLOURS = {
    "top left": (200, 40, 40),
    "top right": (40, 40, 200),
    "bottom left": (40, 160, 40),
    "bottom right": (200, 190, 60),
}


def drawing(width: int, height: int) -> np.ndarray:
    """Four colours around the middle of a frame."""
    top_left, top_right, bottom_left, bottom_right = COLOURS.values()
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = top_left, top_right
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = bottom_left, bottom_right
    return image


@pytest.mark.parametrize("width, height, detection_px", [(1920, 1080, 640), (640, 360, 640), (320, 180, 320)])
@pytest.mark.parametrize("matrix", [6, 1], ids=["601", "709"])
def test_colours_of_a_film_are_those_that_were_filmed(tmp_path, width, height, detection_px, matrix):
    path = film(tmp_path / "drawing.mp4", drawing(width, height), matrix=matrix)
    batch = crops_of(path, landmarks_at((width / 2, height / 2), height / 3, 0.0), detection_px=detection_px)
    assert batch.crop.shape == (2, 80, 80, 3)
    parts = (slice(5, 35), slice(45, 75))
    quarters = [batch.crop[0][rows, columns] for rows in parts for columns in parts]
    for quarter, colour in zip(quarters, COLOURS.values(), strict=True):
        # add_colour takes luma to be that of BT.601: a saturated colour of another matrix is too bright or too dark
        assert np.abs(quarter.mean((0, 1)) - colour).max() < (18 if matrix == 1 and width > detection_px else 6)
        assert quarter.std((0, 1)).max() < 3


@pytest.mark.parametrize("detection_px", [640, 1280])
def test_a_grey_film_gives_grey_crops(tmp_path, detection_px):
    grey = np.asarray(np.random.default_rng(0).integers(30, 220, (90, 160), np.uint8).repeat(8, 0).repeat(8, 1))
    path = film(tmp_path / "grey.mp4", np.repeat(grey[..., None], 3, 2))
    landmarks = landmarks_at((640, 360), 300, 0.2)
    coloured = crops_of(path, landmarks, detection_px=detection_px).crop.astype(int)
    plain = crops_of(path, landmarks, detection_px=detection_px, channels=1).crop
    assert np.ptp(coloured, axis=3).max() == 0
    assert np.abs(coloured - plain).max() <= 2


@pytest.mark.parametrize("detection_px", [640, 1600])
def test_a_photograph_and_its_film_give_the_same_crop(tmp_path, detection_px):
    photograph = skimage.data.astronaut()[:360].repeat(2, 0).repeat(2, 1)
    photograph = np.pad(photograph, [(0, 0), (288, 288), (0, 0)])  # 1600 x 720
    landmarks = landmarks_at((288 + 448, 240), 230, 0.05)
    box = np.concatenate([landmarks.min(0), landmarks.max(0)])
    still = Face(box, landmarks, 1.0).crop(photograph, AFFINE, 80, 3).astype(int)
    filmed = crops_of(film(tmp_path / "still.mp4", photograph), landmarks, detection_px=detection_px).crop[1]
    assert np.abs(filmed - still).mean() < 2.5
    assert np.abs((filmed - still).mean((0, 1))).max() < 1.5
    assert np.percentile(np.abs(filmed - still), 99) < 16
