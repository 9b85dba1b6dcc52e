"""Fast sampling: frames that no other needs are left out of decoding, never out of the truth about times."""

from pathlib import Path

import pytest

from fervid.config import Config, load_config
from fervid.errors import ConfigError
from fervid.frames import choose_frames
from fervid.pipeline import process_video
from fervid.source import read_video
from tests.test_pipeline import MODELS

ONE_FACE = Path(__file__).parents[1] / "sample_videos" / "one_face.mp4"


def looks(fps: float, sampling: str, start_s: float = 0.0, stop_s: float | None = None):
    """The times looked at, the reader's health and where it says the video ends."""

    def work(reader):
        chosen = choose_frames(reader.frames(start_s, stop_s), fps, start_s=start_s)
        return [pts_s for _, pts_s, _ in chosen], reader.health, reader.end_s

    return read_video(ONE_FACE, Config(fps=fps, sampling=sampling), work)


def test_half_of_the_frames_give_as_many_looks():
    (exact, health, end_s), _ = looks(5, "exact")
    (fast, fast_health, fast_end_s), _ = looks(5, "fast")
    assert health.decoded == 180 and fast_health.decoded < 100
    assert (health.reference_only, fast_health.reference_only) == (False, True)
    assert fast_end_s == end_s and not fast_health.reasons
    assert [int(t * 5 + 1e-6) for t in fast] == [int(t * 5 + 1e-6) for t in exact] == list(range(30))
    frames = [i / 30 for i in range(180)]
    assert all(min(abs(t - frame) for frame in frames) < 1e-4 for t in fast)  # times of real frames


def test_where_too_few_frames_are_left_every_frame_is_decoded():
    (exact, *_), _ = looks(25, "exact")
    (fast, health, _), taken = looks(25, "fast")  # 1/25 s is less than the two frames between reference frames
    assert taken["every_frame"] and not health.reference_only
    assert fast == exact


def test_a_part_is_sampled_alike():
    (fast, *_), _ = looks(5, "fast", 2.0, 4.0)
    assert [int(t * 5 + 1e-6) for t in fast] == list(range(10, 20))


@pytest.mark.parametrize(("fps", "used"), [(5, "fast"), (25, "exact")])
def test_the_provenance_says_what_was_done(fps, used):
    result = process_video(ONE_FACE, None, Config(fps=fps, sampling="fast", end_s=1), MODELS)
    assert (result.provenance["sampling"], result.provenance["config"]["sampling"]) == (used, "fast")
    assert result.status == "ok"


@pytest.mark.parametrize("options", [{"fps": "native"}, {"reader": "decord"}])
def test_what_cannot_be_fast_is_refused(options):
    with pytest.raises(ConfigError, match="sampling fast needs"):
        load_config(sampling="fast", **options)
