"""Classification in full batches keeps the rows and their order, and delays them only briefly."""

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.emotions.classify import classify
from fervid.tracks.tracker import Tracker, link
from fervid.types import EmotionBatch, concatenate
from tests.helpers.fakes import Face, FakeClassifier, Seen, counted, same, shot_batch, split
from tests.helpers.hypothesis_settings import steady


def samples(faces: list[int]) -> list[Seen]:
    """Make one sample per second with these numbers of faces; the brightness of a face follows its number."""
    numbered = count()
    return [
        Seen(float(i), tuple(Face(box=(at := 3 * next(numbered) % 250, at, at, at)) for _ in range(n)))
        for i, n in enumerate(faces)
    ]


def tracked(seen: list[Seen], cuts: list[int]) -> list:
    return list(link([shot_batch(part) for part in split(seen, cuts)], Tracker(start_score=0)))


@steady
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.lists(st.integers(0, 99)), st.integers(1, 20))
def test_rows_and_their_order_are_kept(faces, cuts, batch_size):
    batches = tracked(samples(faces), cuts)
    out = concatenate(list(classify(batches, FakeClassifier(batch_size))))
    expected = concatenate(batches)
    for name in ("sampled_s", "duration_s", "pts_s", "box_px", "score", "landmarks_px", "track"):
        assert np.array_equal(getattr(out, name), getattr(expected, name)), name
    assert np.array_equal(out.prob, FakeClassifier().predict(expected.crop).reshape(-1, 3))


@steady
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.lists(st.integers(0, 99)), st.integers(1, 20))
def test_readings_do_not_depend_on_batches(faces, cuts, batch_size):
    whole = classify(tracked(samples(faces), []), FakeClassifier())
    parts = classify(tracked(samples(faces), cuts), FakeClassifier(batch_size))
    assert same(list(parts), list(whole))


def test_batches_are_filled_across_samples():
    batches = tracked(samples([3] * 40), list(range(40)))
    sizes = [len(batch) for batch in classify(batches, FakeClassifier(batch_size=4))]
    assert sum(sizes) == 120 and all(size >= 16 for size in sizes[:-1])


def test_samples_without_faces_are_passed_on_before_memory_grows():
    taken: list = []
    endless = (batch for i in count() for batch in tracked([Seen(i / 5)], []))
    out = classify(counted(endless, taken), FakeClassifier())
    first, second = next(out), next(out)
    assert (len(first), len(second)) == (0, 0)
    assert [*first.sampled_s, *second.sampled_s] == pytest.approx([i / 5 for i in range(len(taken))])
    assert len(taken) <= 64


def test_crops_do_not_accumulate():
    taken: list = []
    crowded = (batch for i in count() for batch in tracked(samples([50]), []))
    batch = next(classify(counted(crowded, taken), FakeClassifier(batch_size=4)))
    assert len(taken) == 1 and len(batch) == 50


def test_no_batches():
    assert list(classify([], FakeClassifier())) == []


def test_rows_that_do_not_sum_to_one_are_refused():
    class NotNormalised(FakeClassifier):
        def predict(self, crop):
            return 2 * super().predict(crop)

    with pytest.raises(ValueError, match="sum to 1"):
        list(classify(tracked(samples([2]), []), NotNormalised()))


def test_equal_crops_are_classified_once():
    class Counting(FakeClassifier):
        seen = 0

        def predict(self, crop):
            self.seen += len(crop)
            return super().predict(crop)

    classifier = Counting()
    seen = [Seen(i / 5, (Face((5, 5, 9, 9)), Face((20, 20, 40, 40)))) for i in range(9)]
    (batch,) = classify(tracked(seen, []), classifier)
    assert classifier.seen == 2 and len(batch) == 18
    assert len(np.unique(batch.prob[::2], axis=0)) == len(np.unique(batch.prob[1::2], axis=0)) == 1
    assert (batch.prob[0] != batch.prob[1]).any()


def test_batch_without_faces_has_all_columns():
    (batch,) = classify(tracked([Seen(0.0)], []), FakeClassifier())
    assert isinstance(batch, EmotionBatch) and batch.prob.shape == (0, 3)
