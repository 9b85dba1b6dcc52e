"""Optional columns of persons and curves, end to end; the raw columns stay unchanged."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import fervid
from fervid.config import Config
from fervid.models import Models
from fervid.pipeline import process_video
from tests.helpers.fakes import FakeClassifier, FakeDetector, FakeEmbedder
from tests.helpers.scenes import scene, write

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu", FakeEmbedder())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a clip of three seconds with two still faces."""
    return write(tmp_path_factory.mktemp("clips") / "clip.mp4", scene(75, (8, 8), (72, 40)))


def test_persons_and_curves_follow_the_raw_columns(clip: Path, tmp_path: Path) -> None:
    plain, more = (
        process_video(clip, tmp_path / f"{i}.parquet", config, MODELS)
        for i, config in enumerate((Config(), Config(persons="fake", smooth_s=1.0, baseline=True)))
    )
    names = plain.table.column_names
    assert more.table.select(names).equals(plain.table.select(names))
    assert more.table.column_names == [
        *names, "person", "person_confidence", "quality",
        *(f"{name}_{kind}" for kind in ("smooth", "baseline") for name in FakeClassifier.labels),
    ]  # fmt: skip
    frame = fervid.load_timeline(tmp_path / "1.parquet")
    assert str(frame["person"].dtype) == "Int32"
    assert more.provenance["persons"]["threshold"] == FakeEmbedder.threshold and plain.provenance["persons"] is None
    assert len(fervid.load_timeline(tmp_path / "1.parquet", by="second")) == frame["second"].nunique()
    assert pq.read_schema(tmp_path / "1.parquet").field("person").nullable


def test_without_cuts_all_is_one_shot(clip: Path, tmp_path: Path) -> None:
    result = process_video(clip, None, Config(detect_shots=False), MODELS, shots_out=tmp_path / "shots.parquet")
    assert set(result.to_pandas()["shot"].dropna()) == {0}
    assert pq.read_table(tmp_path / "shots.parquet").num_rows == 1


def test_an_embedder_is_not_used_unless_requested(clip: Path) -> None:
    embedder = FakeEmbedder()
    process_video(clip, None, Config(), replace(MODELS, embedder=embedder))
    assert embedder.seen == 0
