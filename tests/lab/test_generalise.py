"""The benchmark of generalisation: what it counts, by hand; sets, videos and talk end to end; wrong input."""

import json
from pathlib import Path

import pytest

from fervid.errors import DataError
from tests.benchmarks.generalise import Truth, count_neutral, count_right, face_at, main, named_set, read_truth
from tests.helpers.face_sets import some_faces, write_parquet

ROOT = Path(__file__).parents[2]
LABELS = ("happiness", "sadness", "neutral")


def face(second: int, dominant: str, x: float = 0.4, p: float = 0.8, h: float = 0.4) -> dict:
    prob = {name: p if name == dominant else (1 - p) / 2 for name in LABELS}
    return {"second": second, "dominant": dominant, "x": x, "w": 0.2, "h": h, **prob}


class FakeLine:
    """A line whose timelines are given."""

    labels = LABELS

    def __init__(self, **timelines: tuple[list[dict], list[int]]) -> None:
        self.timelines = timelines

    def faces(self, path: Path) -> tuple[list[dict], list[int]]:
        return self.timelines[path.stem]


def test_right_seconds_by_hand() -> None:
    # three seconds of happiness: right, wrong, without a face; one second of sadness: right
    line = FakeLine(
        glad=([face(0, "happiness"), face(1, "neutral", p=0.5)], [0, 1, 2]), sad=([face(0, "sadness")], [0])
    )
    found = count_right([Truth(Path("glad.mp4"), "happiness"), Truth(Path("sad.mp4"), "sadness")], line)
    assert (found["seconds"], found["seconds_right"], found["seconds_without_face"]) == (4, 2, 1)
    assert found["accuracy"] == 0.5 and found["recall"] == {"happiness": 0.3333, "sadness": 1.0}
    assert found["mean_recall"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-4)
    assert found["confusion"]["happiness"] == {"happiness": 1, "neutral": 1, "None": 1}
    # the means of the happy file: happiness (0.8 + 0.25) / 2, neutral (0.1 + 0.5) / 2
    assert (found["files"], found["files_right"]) == (2, 2)


def test_seconds_and_sides_of_a_file() -> None:
    both = [face(3, "happiness", x=0.1), face(3, "sadness", x=0.7), face(3, "neutral", x=0.75, h=0.1)]
    line = FakeLine(two=(both, [3]))
    truth = [
        Truth(Path("two.mp4"), "happiness", 3, "left"),
        Truth(Path("two.mp4"), "sadness", 3, "right"),  # not the smaller, neutral face on the same side
        Truth(Path("two.mp4"), "neutral", 4, "only"),
    ]
    found = count_right(truth, line)
    assert (found["seconds_right"], found["seconds_without_face"], found["files"]) == (2, 1, 0)
    assert found["recall"] == {"happiness": 1.0, "sadness": 1.0, "neutral": 0.0}


def test_the_middle_of_a_face_decides_its_side() -> None:
    right = face(0, "neutral", x=0.41)  # from 0.41 to 0.61
    assert face_at([right], 0, "right") is right and face_at([right], 0, "left") is None


def test_neutral_talk_by_hand() -> None:
    line = FakeLine(
        a=([face(0, "neutral"), face(1, "sadness", p=0.4)], [0, 1]),
        b=([face(0, "neutral"), face(1, "happiness")], [0, 1, 2]),
        nobody=([], [0]),
    )
    found = count_neutral([Path("a.mp4"), Path("b.mp4"), Path("nobody.mp4")], line)
    assert (found["clips"]["a.mp4"]["neutral"], found["clips"]["a.mp4"]["neutral_of_clear"]) == (0.5, 1)
    assert (found["overall"]["seconds"], found["overall"]["clear"]) == (4, 3)
    assert found["overall"]["neutral_of_clear"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["clips"]["nobody.mp4"] == {
        "seconds": 0, "neutral": None, "clear": 0, "neutral_of_clear": None, "dominant": {},
    }  # fmt: skip


def test_names_of_sets() -> None:
    one = named_set("FER+:ferplus,public=data/fer=2013.csv")
    assert (one.name, one.path, one.words) == ("FER+", "data/fer=2013.csv", ("ferplus", "public"))


@pytest.mark.parametrize("text", ["", "PATH", "NAME=", "=PATH"])
def test_a_set_without_name_or_path_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([text])
    assert "expected NAME=PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,emotion\na.mp4,sad\n", "columns file,label or file,second,side,label, found file, emotion"),
        ("file,second,label\na.mp4,1,sad\n", "columns file,label or file,second,side,label"),
        ("file,label\na.mp4,bored\n", "line 2: unknown emotion 'bored'"),
        ("file,label\nb.mp4,sad\n", r"line 2: .*b.mp4 does not exist"),
        ("file,second,side,label\na.mp4,1.5,left,sad\n", "line 2: expected a whole second"),
        ("file,second,side,label\na.mp4,1,top,sad\n", "left, right, only; found 1, top"),
        ("file,label\n", "at least one line"),
    ],
)
def test_a_wrong_truth_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "truth.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_truth(tmp_path)


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"truth.csv: not found; expected a CSV file"):
        read_truth(tmp_path)


def test_sets_videos_and_talk_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = write_parquet(tmp_path / "faces.parquet", some_faces(14))
    videos = tmp_path / "labelled"
    videos.mkdir()
    clip = videos / "one_face.mp4"
    clip.symlink_to(ROOT / "sample_videos" / "one_face.mp4")
    (videos / "truth.csv").write_text("file,second,side,label\none_face.mp4,0,only,happy\none_face.mp4,1,left,fear\n")
    found = main(
        [
            *(f"little={faces}", "--weights", "seresnet", "--video", str(videos), "--talk", str(clip), "--fps", "1"),
            *("--json", str(tmp_path / "found.json")),
        ]
    )
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["sets"][0]["n"] == 14 and found["sets"][0]["model"] == "seresnet"
    assert found["videos"][0]["seconds"] == 2 and found["videos"][0]["confusion"]["happiness"] == {"happiness": 1}
    assert found["talk"][0]["overall"] == found["talk"][0]["clips"]["one_face.mp4"]
    shown = capsys.readouterr().out
    assert "| little | seresnet (fer2013) | 14    |" in shown and "seresnet: of the clear" in shown
