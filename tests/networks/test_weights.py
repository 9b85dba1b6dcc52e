"""The facts beside bundled weights: which emotions are unreliable, and where that is shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from fervid.networks.weights import Unreliable, bundled, find_unreliable
from fervid.timeline.read import describe_timeline, open_timeline, timeline_notes
from fervid.views import terminal
from fervid.views.figures.timeline import Style, draw
from fervid.views.report.data import read_lanes
from fervid.views.report.summary import warnings
from tests.helpers.timelines import LABELS, provenance, rows, write

FACTS = {name: json.loads(path.with_suffix(".json").read_text("utf-8")) for name, path in bundled().items()}
SHA256 = FACTS["seresnet"]["sha256"]
NOTE = "fear (15%) and disgust are unreliable outside FER2013; see fervid/weights/seresnet.md"


def timeline_of(path: Path, sha256: str = SHA256, **seconds: int) -> Path:
    """Write a timeline with so many seconds in which each emotion is the most probable one."""
    best = [LABELS.index(name) for name, n in seconds.items() for _ in range(n)]
    facts = provenance()
    facts["model"]["sha256"] = sha256
    n = len(best)
    return write(path, rows(np.arange(n), np.zeros(n, int), np.eye(7)[best] * 0.65 + 0.05), n, facts=facts)


def test_bundled_models_name_their_own_emotions() -> None:
    for name, facts in FACTS.items():
        found = find_unreliable(facts["sha256"])
        assert (found is not None) == ("unreliable" in facts)
        if found is None:
            continue
        assert set(found.emotions) <= set(facts["heads"][0]["labels"])
        card = bundled()[name].with_suffix(".md")
        assert found.card.endswith(card.name) and '"unreliable"' in card.read_text("utf-8")
    assert find_unreliable("0" * 64) is None and find_unreliable(None) is None


def test_sentences_agree_in_number() -> None:
    words = [Unreliable(some, "X", "x.md").sentence() for some in (("fear",), ("fear", "anger"), ("a", "b", "c"))]
    assert words == [
        "fear is unreliable outside X",
        "fear and anger are unreliable outside X",
        "a, b and c are unreliable outside X",
    ]


def test_unreliable_emotions_are_noted_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = timeline_of(tmp_path / "t.parquet", happiness=55, sadness=30, fear=15)
    facts = describe_timeline(path)
    assert facts["notes"] == [NOTE]
    terminal.print_info(path, facts)
    assert f"\nnote      {NOTE}\n" in capsys.readouterr().out
    assert f"<li>F{NOTE[1:]}.</li>" in warnings(read_lanes(path), [])
    assert draw(open_timeline(path), [], Style())[1].endswith(" Fear and disgust are unreliable outside FER2013.")


@pytest.mark.parametrize(
    "sha256, seconds, notes",
    [
        (SHA256, {"happiness": 100}, []),
        (SHA256, {"happiness": 150, "fear": 1}, []),
        (SHA256, {"happiness": 99, "fear": 1}, [NOTE.replace("15%", "1%")]),
        (SHA256, {"disgust": 80, "fear": 20}, [NOTE.replace("fear (15%) and disgust", "disgust (80%) and fear (20%)")]),
        ("1" * 64, {"fear": 100}, []),
    ],
)
def test_notes_need_a_hundredth_of_the_face_time(
    tmp_path: Path, sha256: str, seconds: dict[str, int], notes: list[str]
) -> None:
    facts = describe_timeline(timeline_of(tmp_path / "t.parquet", sha256, **seconds))
    assert facts["notes"] == notes == timeline_notes(facts["summary"], facts)
