"""All eight orientations, wherever a file declares them, and those that the user gives."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fervid.config import ROTATIONS, load_config
from fervid.errors import ConfigError, VideoError
from fervid.video.geometry import ORIENTATIONS, Orientation
from fervid.video.open import open_video, read_video
from fervid.video.readers.pyav_frame import planes_of
from tests.helpers.changing_clips import Part, write_parts
from tests.helpers.clips import HEIGHT, WIDTH, draw, read_number, two_sizes, write_clip
from tests.helpers.hdr_clips import write_hdr
from tests.helpers.orientation_sei import write_with_sei
from tests.helpers.reader_clips import read

CONTAINERS = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "webm": "libvpx-vp9"}


def test_the_names_are_those_of_the_configuration():
    assert tuple(ORIENTATIONS) == ROTATIONS
    assert len(set(ORIENTATIONS.values())) == 8


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_an_orientation_and_its_matrix_agree_on_every_pixel(name):
    display, image = ORIENTATIONS[name], np.arange(12).reshape(3, 4)
    shown = display.apply(image)
    rows, columns = np.indices(image.shape)
    points = display.matrix() @ np.stack([columns.ravel(), rows.ravel()])
    x, y = points - points.min(1, keepdims=True)
    assert (shown[y, x] == image.ravel()).all()
    assert display.name == name


def test_the_names_turn_clockwise_and_then_mirror():
    image = np.array([[1, 2], [3, 4]])
    assert ORIENTATIONS["90"].apply(image).tolist() == [[3, 1], [4, 2]]
    assert ORIENTATIONS["mirrored"].apply(image).tolist() == [[2, 1], [4, 3]]
    assert ORIENTATIONS["mirrored-90"].apply(image).tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_display_matrix_is_one_of_eight(name, suffix, make):
    path = make(f"{name}.{suffix}", partial(_write, display=ORIENTATIONS[name], codec=CONTAINERS[suffix]))
    _check(path, [ORIENTATIONS[name]] * 5)


def _write(path: Path, display: Orientation, codec: str) -> Path:
    return write_clip(path, n=5, orientation=display, codec=codec)


@pytest.mark.parametrize("name", [*ORIENTATIONS][1:])
@pytest.mark.parametrize(("codec", "suffix"), [("h264", "mp4"), ("h264", "ts"), ("hevc", "mkv"), ("hevc", "mp4")])
def test_a_display_orientation_message_holds_for_its_group_of_pictures(name, codec, suffix, make):
    path = make(f"{codec}_{name}.{suffix}", partial(write_with_sei, codec=codec, display=_always(name)))
    _check(path, [ORIENTATIONS[name]] * 50)


def _always(name: str) -> Callable[[int], Orientation]:
    return lambda number: ORIENTATIONS[name]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("first", "then"), [("0", "180"), ("mirrored", "0"), ("270", "90"), ("90", "mirrored-90")])
def test_the_orientation_may_change_within_a_film(codec, first, then, make):
    displays = [ORIENTATIONS[first], ORIENTATIONS[then]]
    builder = partial(write_with_sei, codec=codec, display=lambda number: displays[number // 25])
    _check(make(f"{first}_{then}_{codec}.mkv", builder), [displays[i // 25] for i in range(50)])


def _check(path: Path, displays: list[Orientation]) -> None:
    """Everything that a frame gives is upright, and the video is described by its first frame."""
    with open_video(path) as video:
        info, numbers = video.info, range(len(displays))
        assert (info.rotation_deg, info.mirrored) == (displays[0].rotation_deg, displays[0].mirrored)
        assert (info.width_px, info.height_px) == (WIDTH, HEIGHT)
        assert not info.odd_matrix
        for i, frame in zip(numbers, video.frames(), strict=True):
            assert frame.size_px == (WIDTH, HEIGHT)
            assert frame.luma().shape == (HEIGHT, WIDTH)
            assert frame.geometry.orientation == displays[i]
            given = frame.luma(), frame.rgb(64, 48), planes_of(frame.canvas(WIDTH, HEIGHT))[0]
            assert [read_number(image) for image in given] == [i] * 3
    assert read(path).health.reasons == []


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("declared", ["0", "90", "mirrored"])
def test_the_option_rotate_takes_precedence_over_the_file(name, declared, make):
    """Frames stored for one orientation, in files that declare another."""
    path = make(f"missing_{name}_{declared}.mp4", partial(_declare, truth=ORIENTATIONS[name], declared=declared))
    config = load_config(rotate=name)
    numbers, _ = read_video(path, config, lambda reader: [read_number(f.luma()) for f in reader.frames()])
    assert numbers == list(range(5))


def _declare(path: Path, truth: Orientation, declared: str) -> Path:
    return write_clip(path, n=5, orientation=truth, declared=ORIENTATIONS[declared])


@pytest.mark.parametrize(("value", "expected"), [(90, "90"), ("mirrored", "mirrored"), (0, "0"), (None, None)])
def test_rotate_is_a_number_or_a_word(value, expected):
    assert load_config(rotate=value).rotate == expected


@pytest.mark.parametrize("value", [45, "left", -90, True])
def test_rotate_names_what_it_expects(value):
    with pytest.raises(ConfigError, match="rotate"):
        load_config(rotate=value)


def test_rotate_needs_a_reader_that_knows_it():
    with pytest.raises(ConfigError, match="decord"):
        load_config(rotate=90, reader="decord")


ONE = 1 << 16


@pytest.mark.parametrize(
    ("axes", "name", "exact"),
    [
        ((ONE, 0, 0, ONE), "0", True),
        ((2 * ONE, 0, 0, ONE // 2), "0", True),
        ((ONE, ONE // 20, -ONE // 20, ONE), "0", True),
        ((ONE, ONE // 2, 0, ONE), "0", False),
        ((ONE, ONE, -ONE, ONE), "0", False),
        ((0, -ONE, ONE, ONE // 3), "270", False),
        ((-ONE, ONE // 3, 0, ONE), "mirrored", False),
        ((0, 0, 0, 0), "0", False),
        ((ONE, ONE, ONE, ONE), "0", False),
        ((-(1 << 31), 0, 0, -(1 << 31)), "180", True),
    ],
)
def test_any_matrix_gives_the_nearest_orientation(axes, name, exact):
    a, b, c, d = axes
    found, is_exact = Orientation.of_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert (found.name, is_exact) == (name, exact)


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_other_readers_give_the_same_or_refuse(reader, name, suffix, make):
    path = make(f"{name}.{suffix}", partial(_write, display=ORIENTATIONS[name], codec="libx264"))
    _same_or_refused(path, reader)


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
def test_other_readers_refuse_what_they_do_not_know(reader, make):
    builders = {
        "message.mp4": partial(write_with_sei, codec="h264", display=_always("90")),
        "sizes.mp4": two_sizes,
        "shapes.mkv": partial(write_parts, parts=[Part(30, (128, 96)), Part(30, (128, 96), Fraction(2))], draw=draw),
        "hdr.mkv": lambda path: write_hdr(path, [np.full((96, 128, 3), 90, np.uint8)] * 5, 16),
    }
    for name, builder in builders.items():
        _same_or_refused(make(name, builder), reader)


def _same_or_refused(path: Path, reader: str) -> None:
    try:
        video = open_video(path, reader=reader)
    except VideoError as e:
        assert "use --reader av" in str(e) and "\n" not in str(e)
        return
    with video, open_video(path) as expected:
        for one, other in zip(video.frames(), expected.frames(), strict=True):
            assert one.size_px == other.size_px
            assert np.abs(one.rgb(64, 48).astype(int) - other.rgb(64, 48)).mean() < 12
            assert np.abs(one.luma().astype(int) - other.luma()).mean() < 12
