"""Hundreds of damaged files in real workers; tests/benchmarks/fuzz.py processes ten thousand."""

from collections import Counter

import pytest

from tests.benchmarks.fuzz import find_violations, run, write_damaged_files
from tests.helpers.mutations import MUTATIONS, SEEDS, mutate, write_seed


def test_every_seed_is_intact_and_every_mutation_damages_it(tmp_path):
    seeds = {name: write_seed(tmp_path / name, name).read_bytes() for name in SEEDS}
    assert len({name.split(".")[1] for name in SEEDS}) >= 10 and len({codec for codec, *_ in SEEDS.values()}) >= 10
    data, other = seeds["h264.mp4"], seeds["vp9.webm"]
    assert {mutate(data, other, turn)[0] for turn in range(len(MUTATIONS))} == set(MUTATIONS)
    assert all(mutate(data, other, turn)[1] != data for turn in range(50))
    assert mutate(data, other, 7) == mutate(data, other, 7)


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 100_000])
def test_every_damaged_file_has_a_row(first, tmp_path):
    write_damaged_files(tmp_path / "videos", 300, first)
    summary, engine = run(tmp_path / "videos", tmp_path / "out", 2)
    assert find_violations(tmp_path / "videos", tmp_path / "out", summary) == []
    reasons = Counter(row.reason for row in summary.rows)
    assert not reasons.keys() & {"crashed", "killed", "stalled", "timeout", "error"}, summary.troubles
    assert {"not_media", "no_moov", "damaged", "truncated"} <= reasons.keys() and reasons[""] > 50
    assert engine.losses.total() == reasons["memory"]
