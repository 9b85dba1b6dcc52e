"""Presets, files and options make one checked Config; errors name the key and the file."""

import dataclasses
import json
import math

import pytest

import fervid
from fervid.config import ALIASES, Config, load_config, presets
from fervid.errors import ConfigError


@pytest.fixture
def toml(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        return str(path)

    return write


# -- valid options --------------------------------------------------------------------------------------


def test_defaults():
    assert load_config() == Config()
    assert load_config(fps=None, device=None, stream=None) == Config()


@pytest.mark.parametrize("name", ["movies", "recordings", "disfa"])
def test_every_preset_loads(name):
    assert isinstance(load_config(name), Config)
    assert set(presets()) == {"movies", "recordings", "disfa"}
    assert presets()[name].read_text("utf-8").startswith("#")  # a preset explains itself


def test_values_of_presets():
    assert load_config("movies").max_lost_s < load_config("recordings").max_lost_s
    assert load_config("disfa").fps is None
    assert load_config("movies").persons == "dlib" and load_config("movies", persons="none").persons is None


def test_options_take_precedence_over_the_preset():
    assert load_config("disfa", fps=5).fps == 5
    assert load_config("movies", fps="native").fps is None
    assert load_config("movies", fps=None).fps == 5
    assert load_config("movies", max_lost_s=2).track_start_score == load_config("movies").track_start_score


def test_a_toml_file(toml, tmp_path):
    config = load_config(toml("fps = 12.5\nmin_face_px = 40\nreader = 'decord'\nstream = 1\n"))
    assert (config.fps, config.min_face_px, config.reader, config.stream) == (12.5, 40, "decord", 1)
    assert load_config(tmp_path / "mine.toml") == config


@pytest.mark.parametrize("fps, expected", [("native", None), ("5", 5), ("29.97", 29.97), (5, 5), (30.0, 30)])
def test_fps(fps, expected):
    assert load_config(fps=fps).fps == expected


def test_a_config_is_frozen_and_has_plain_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().fps = 3
    assert json.loads(json.dumps(load_config("movies").to_dict())) == load_config("movies").to_dict()


def test_equal_values_have_one_json():
    assert json.dumps(load_config(fps=5).to_dict()) == json.dumps(load_config(fps="5").to_dict())


@pytest.mark.parametrize(
    "alias, name, value",
    [
        ("picture_px", "detection_size_px", 512),
        ("birth_score", "track_start_score", 0.5),
        ("max_gap_s", "max_lost_s", 2.5),
        ("cuts", "detect_shots", False),
        ("min_face", "min_face_px", 40.0),
        ("smooth", "smooth_s", 2.0),
        ("start", "start_s", 3.0),
        ("end", "end_s", 4.0),
    ],
)
def test_other_names_of_options(toml, alias, name, value):
    text = json.dumps(value)
    for config in (load_config(**{alias: value}), load_config(toml(f"{alias} = {text}"))):
        assert config == Config(**{name: value})
    assert load_config(toml(f"{name} = {text}"), **{alias: value}) == Config(**{name: value})
    with pytest.raises(ConfigError, match=f"is another name of {name}"):
        load_config(**{name: value, alias: value})


def test_every_other_name_is_tested():
    (marker,) = test_other_names_of_options.pytestmark
    assert {alias: name for alias, name, _ in marker.args[1]} == ALIASES


def test_metadata_keeps_its_keys():
    """Timelines of every version have one set of keys, and the resume key depends on these."""
    assert list(Config().to_dict()) == [
        "fps", "reader", "sampling", "detector", "detection", "weights", "prior", "device", "precision",
        "picture_px", "min_face_px", "birth_score", "max_gap_s", "cuts", "persons", "smooth_s", "baseline", "stream",
        "rate", "rotate", "start_s", "end_s", "max_pixels",
    ]  # fmt: skip
    config = load_config("disfa")
    assert load_config(**config.to_dict() | {"fps": "native"}) == config


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key, nearest",
    [("fsp", "fps"), ("min_faces", "min_face_px"), ("max_gap", "max_lost_s"), ("weight", "weights"), ("ends", "end_s")],
)
def test_an_unknown_key_suggests_the_nearest(toml, key, nearest):
    with pytest.raises(ConfigError, match=f"unknown key '{key}'; did you mean '{nearest}'"):
        load_config(**{key: 1})
    with pytest.raises(ConfigError, match=rf"mine\.toml: unknown key '{key}'; did you mean '{nearest}'"):
        load_config(toml(f"{key} = 1"))


def test_an_unknown_key_without_a_near_one_lists_all():
    with pytest.raises(ConfigError, match=r"unknown key 'zzz'; expected one of fps, reader"):
        load_config(zzz=1)


def test_a_table_is_an_unknown_key(toml):
    with pytest.raises(ConfigError, match="unknown key 'video'"):
        load_config(toml("[video]\nfps = 5"))


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"fps": True}, "fps = True: expected a number"),
        ({"fps": "fast"}, "fps = 'fast': expected a number or \"native\""),
        ({"fps": [5]}, "expected a number"),
        ({"min_face_px": "40"}, "min_face_px = '40': expected a number"),
        ({"detection_size_px": 640.5}, "detection_size_px = 640.5: expected a whole number"),
        ({"stream": "video"}, "stream = 'video': expected a whole number"),
        ({"stream": False}, "stream = False: expected a whole number"),
        ({"reader": 3}, "reader = 3: expected text"),
        ({"device": {}}, "expected text"),
        ({"start_s": "0:30"}, "start_s = '0:30': expected a number"),
    ],
)
def test_wrong_types(wrong, expected):
    with pytest.raises(ConfigError) as error:
        load_config(**wrong)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    "key, fits, fails",
    [
        ("fps", [1, 1000], [0, 0.99, -5, 1000.1, math.nan, math.inf]),
        ("min_face_px", [12, 100_000], [11.9, -1, math.nan]),
        ("detection_size_px", [64, 16_384], [63, 0, 16_385]),
        ("track_start_score", [0, 1], [-0.1, 1.1, math.nan]),
        ("max_lost_s", [0, 3600], [-1, 3601]),
        ("max_pixels", [1, 2**31], [0, -1]),
        ("start_s", [0, 1e9], [-1, math.nan, math.inf]),
        ("end_s", [0.1, 1e9], [-1, 0, math.nan]),
    ],
)
def test_ranges(key, fits, fails):
    for value in fits:
        assert getattr(load_config(**{key: value}), key) == value
    for value in fails:
        with pytest.raises(ConfigError, match=key.removesuffix("_s")):
            load_config(**{key: value})


@pytest.mark.parametrize("key, known", [("reader", "av, decord"), ("detector", "mtcnn, centerface")])
def test_unknown_values_list_the_known_ones(key, known):
    with pytest.raises(ConfigError, match=f"unknown {key} 'nope': expected one of {known}"):
        load_config(**{key: "nope"})


def test_the_end_must_be_after_the_start():
    with pytest.raises(ConfigError, match="end_s = 5: expected a time after start_s = 5"):
        load_config(start_s=5, end_s=5.0)


def test_a_value_out_of_range_names_the_file(toml):
    with pytest.raises(ConfigError, match=r"mine\.toml: fps"):
        load_config(toml("fps = 0"))


def test_unreadable_pipelines(toml, tmp_path):
    for wrong in ("film", str(tmp_path), str(tmp_path / "none.toml"), ""):
        with pytest.raises(ConfigError, match="no such preset; expected disfa, movies, recordings"):
            load_config(wrong)
    for text in ("fps = ", "fps = 5\nfps = 6", "\x00"):
        with pytest.raises(ConfigError, match="not a readable TOML file"):
            load_config(toml(text))
    (tmp_path / "latin.toml").write_bytes(b"reader = '\xe9'")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_config(tmp_path / "latin.toml")


def test_options_are_checked_before_any_file_is_opened():
    with pytest.raises(ConfigError, match="did you mean 'fps'"):
        fervid.process("/no/such/video.mp4", fsp=5)
    with pytest.raises(ConfigError, match="did you mean 'fps'"):
        fervid.probe("/no/such/video.mp4", fsp=5)


# -- the scale of detection -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, size, longer_px, min_face_px",
    [
        ({}, (1920, 1080), 640, 60),  # 20 of 640 pixels are 60 of 1920
        ({}, (1080, 1920), 640, 60),
        ({}, (320, 240), 320, 20),  # never larger than the video
        ({"min_face_px": 60}, (1920, 1080), 640, 60),
        ({"min_face_px": 200}, (1920, 1080), 640, 200),  # large faces need no smaller image
        ({"min_face_px": 30}, (1920, 1080), 1280, 30),  # 20 of 1280 are 30 of 1920
        ({"min_face_px": 12}, (1920, 1080), 1920, 12),  # as far as the video has the pixels
        ({"detection_size_px": 512}, (1024, 768), 512, 40),
        ({"min_face_px": 36, "detector": "centerface"}, (1920, 1080), 640, 36),  # needs 12 pixels
        ({"min_face_px": 30, "detector": "centerface"}, (1920, 1080), 768, 30),
    ],
)
def test_detection_scale(options, size, longer_px, min_face_px):
    assert load_config(**options).detection_scale(*size) == (longer_px, min_face_px)
