"""Between key frames, faces keep the boxes and track numbers that full detection gives them, in an edited film."""

from pathlib import Path

import numpy as np
import pytest

from fervid.faces.mtcnn import MTCNN
from fervid.models import Models
from tests.benchmarks.identities import against_truth, compared, tracked
from tests.helpers.fakes import FakeClassifier
from tests.helpers.simulated_people import Scene, sightings
from tests.helpers.walking_people import frames, head, write

SCENE = Scene(3, seconds=6, fps=15, speed=0.8, cuts_s=2.0, size=(640, 360))


def test_heads_fill_the_boxes_of_their_faces():
    """MTCNN finds each portrait in its true box."""
    detector = MTCNN(device="cpu")
    scene = Scene(1, seconds=1, fps=2, speed=0, size=(640, 360))
    samples = sightings(scene, 4)
    (box,) = samples[0].truth
    for person in (0, 1, 6, 7):
        samples[0].present[0] = person
        image = next(frames(scene, samples, 4))
        found = detector.detect(np.asarray(image)[None], 20.0)
        best = found.box_px[found.score.argmax()]
        assert np.abs(best - box).max() < 0.15 * (box[3] - box[1])
        assert head(person)[0].mode == "RGBA"


@pytest.mark.slow
@pytest.mark.parametrize("fps", [5.0, None])
def test_keyframes_give_the_tracks_and_boxes_of_every_sample(tmp_path: Path, fps: float | None):
    """The tolerance: 97% of the faces overlap by half, half of them by 0.9; no track number changes its person."""
    samples = write(tmp_path / "film.mp4", SCENE, 1)
    models = Models(MTCNN(device="cpu"), FakeClassifier(), "cpu")
    every, some = (tracked(tmp_path / "film.mp4", fps, how, models) for how in ("every", "adaptive"))
    both, overlap = compared(every, some)
    assert both.switches == 0 and both.idf1 > 0.97
    assert (overlap >= 0.5).mean() > 0.97 and np.median(overlap) > 0.9
    assert abs(against_truth(samples, every).idf1 - against_truth(samples, some).idf1) < 0.03
