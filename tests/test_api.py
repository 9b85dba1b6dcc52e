"""The names of `import fervid`: all of them documented, typed, and as the command line calls them."""

import inspect
import subprocess
import sys
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fervid
from fervid import api
from fervid.config import ALIASES, Config, ConfigOptions
from fervid.errors import ConfigError, DataError
from fervid.lab.training.recipe import Recipe, RecipeOptions
from fervid.models import Models
from fervid.pipeline import process_video
from tests.helpers.fakes import LABELS, FakeClassifier, FakeDetector, draw_faces
from tests.helpers.scenes import scene, write

MODELS = Models(FakeDetector(), FakeClassifier(), "cpu")
FUNCTIONS = [getattr(api, name) for name in api.__all__]
#: What fervid 0.1 offered.
FIRST = {
    "FervidError", "RunError", "UsageError", "VideoError", "__version__", "agree", "batch", "disfa", "export", "forget",
    "load_models", "load_timeline", "load_timelines", "overlay", "plot", "probe", "process", "report",
}  # fmt: skip


# -- names --------------------------------------------------------------------------------------------------


def test_every_public_name_loads_and_dir_lists_no_other() -> None:
    assert dir(fervid) == sorted(fervid.__all__)
    assert all(getattr(fervid, name) is not None for name in fervid.__all__)
    assert set(fervid.__all__) >= FIRST
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fervid.nothing  # noqa: B018


def test_no_module_hides_a_function() -> None:
    modules = {path.stem for path in Path(fervid.__file__).parent.iterdir()}
    assert not modules & set(fervid.__all__)


def test_the_package_itself_loads_nothing() -> None:
    program = "import sys, fervid; dir(fervid); print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "pandas", "pyarrow", "torch", "av", "typer", "matplotlib"}
    program = "import sys, fervid; fervid.Config, fervid.process; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "pandas", "pyarrow", "torch", "av", "typer", "matplotlib"}


def test_types_are_announced() -> None:
    assert (Path(fervid.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions_are_documented_and_typed(function) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    assert text.split("\n")[0].endswith(".") and "Returns\n-------" in text
    sections = text.partition("Parameters\n----------\n")[2].partition("\n\nReturns")[0].splitlines()
    documented = [
        name.strip("* ") for line in sections if line and not line.startswith(" ")
        for name in line.partition(" : ")[0].split(", ")
    ]  # fmt: skip
    assert documented == list(signature.parameters)
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty


def test_typed_options_are_the_fields_of_config_and_their_other_names() -> None:
    hints = typing.get_type_hints(ConfigOptions)
    own = {field.name: field.type for field in fields(Config)}
    assert list(hints) == [*own, *ALIASES]
    for name, hint in hints.items():
        expected = own[ALIASES.get(name, name)] | None
        assert hint == {"fps": expected | str, "rotate": str | int | None}.get(name, expected)


def test_typed_options_of_training_are_the_fields_of_the_recipe() -> None:
    hints = typing.get_type_hints(RecipeOptions)
    own = {field.name: field.type for field in fields(Recipe)}
    assert list(hints) == list(own)
    tables = (Mapping[str, Any] | None, Mapping[str, float] | None)
    for name, hint in hints.items():
        if typing.get_origin(own[name]) is dict:
            assert hint in tables
        else:
            assert hint in (own[name] | None, own[name] | list[str] | None)


# -- predict ------------------------------------------------------------------------------------------------


def rgb_with_faces(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Make an RGB image with faces of brightness 250."""
    return np.repeat(draw_faces(*boxes, size=(320, 240))[..., None], 3, 2)


def test_every_face_of_every_image_is_a_row(tmp_path: Path) -> None:
    one, two, none = (
        rgb_with_faces((40, 60, 100, 120)),
        rgb_with_faces((20, 20, 60, 60), (150, 90, 250, 190)),
        rgb_with_faces(),
    )
    Image.fromarray(two).save(tmp_path / "two.png")
    frame = fervid.predict([one, tmp_path / "two.png", Image.fromarray(none)], models=MODELS)
    assert list(frame.columns) == ["image", "source", "face", "x0", "y0", "x1", "y1", "score", *LABELS, "dominant"]
    assert frame[["image", "face"]].to_numpy().tolist() == [[0, 0], [1, 0], [1, 1]]
    assert frame["source"].isna().tolist() == [True, False, False]
    assert frame["source"][1] == frame["source"][2] == str(tmp_path / "two.png")
    boxes = [[40, 60, 100, 120], [150, 90, 250, 190], [20, 20, 60, 60]]  # the main face first: large and central
    assert np.abs(frame[["x0", "y0", "x1", "y1"]].to_numpy() - boxes).max() <= 1
    assert frame["score"].tolist() == pytest.approx([250 / 255] * 3, abs=0.01)
    assert frame[[*LABELS]].sum(axis=1).tolist() == pytest.approx([1] * 3)
    assert set(frame["dominant"]) <= set(LABELS)


def test_images_may_be_one_a_folder_or_a_stack(tmp_path: Path) -> None:
    image = rgb_with_faces((40, 60, 100, 120))
    for name in ("b.png", "a.png", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    assert len(fervid.predict(image, models=MODELS)) == len(fervid.predict(image[..., 0], models=MODELS)) == 1
    assert fervid.predict(np.stack([image, image]), models=MODELS)["image"].tolist() == [0, 1]
    folder = fervid.predict(str(tmp_path), models=MODELS)
    assert folder["source"].tolist() == [str(tmp_path / name) for name in ("a.png", "b.png", "deep/c.png")]
    assert len(fervid.predict(iter([image] * 20), models=MODELS)) == 20


def test_face_crops_are_taken_whole() -> None:
    crop, large = np.full((48, 48), 250, np.uint8), rgb_with_faces()
    for frame in (fervid.predict(crop, models=MODELS), fervid.predict(crop, models=MODELS, detect=False)):
        assert frame[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[0, 0, 48, 48]]
        assert np.isnan(frame["score"][0]) and frame["happiness"][0] == pytest.approx(250 / 510, abs=0.01)
    assert len(fervid.predict(large, models=MODELS)) == 0
    assert len(fervid.predict(large, models=MODELS, detect=False)) == 1


def test_no_image_gives_an_empty_table() -> None:
    frame = fervid.predict([], models=MODELS)
    assert len(frame) == 0 and list(frame.columns)[-1] == "dominant"


@pytest.mark.parametrize("wrong", [np.zeros((9, 9), np.float32), np.zeros((9, 9, 4), np.uint8), np.zeros(0, np.uint8)])
def test_what_is_no_image_is_an_error(wrong: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an image as a path"):
        fervid.predict([wrong], models=MODELS)
    (tmp_path / "x.png").write_text("text")
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image"):
        fervid.predict(tmp_path / "x.png", models=MODELS)
    with pytest.raises(DataError, match="no such"):
        fervid.predict(tmp_path / "none", models=MODELS)


def test_unreadable_images_in_a_folder_are_skipped_with_a_warning(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        Image.fromarray(rgb_with_faces((40, 60, 100, 120))).save(tmp_path / name)
    (tmp_path / "b.png").write_text("text")
    with pytest.warns(UserWarning, match=r"b\.png: skipped, cannot be read as an image"):
        frame = fervid.predict(tmp_path, models=MODELS)
    assert frame["source"].tolist() == [str(tmp_path / name) for name in ("a.png", "c.png")]
    assert frame["image"].tolist() == [0, 2]


# -- results in notebooks -----------------------------------------------------------------------------------


def test_a_result_shows_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(50, (8, 8)))
    result = process_video(path, None, Config(), MODELS, name="<b>&.mp4")
    page = result._repr_html_()
    assert page.startswith("<table") and "&lt;b&gt;&amp;.mp4" in page and "<b>" not in page
    assert "<th>seconds</th><td>2</td>" in page and "<td>ok</td>" in page


def test_a_figure_shows_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(50, (8, 8)))
    fervid.process(path, tmp_path / "t.parquet", models=MODELS)
    figure = fervid.plot(tmp_path / "t.parquet")
    assert type(figure).__name__ == "Figure" and figure.panels == 1 and figure.caption
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert list(tmp_path.glob("*.png")) == []


# -- the functions behind the commands ----------------------------------------------------------------------


def test_info_describes_a_timeline(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(50, (8, 8)))
    fervid.process(path, tmp_path / "t.parquet", models=MODELS, start=1.0, max_gap_s=2)
    facts = fervid.info(str(tmp_path / "t.parquet"))
    assert facts["summary"]["seconds"] == 1 and facts["config"]["start_s"] == 1 and facts["config"]["max_gap_s"] == 2


def test_score_writes_a_table(tmp_path: Path) -> None:
    Image.fromarray(rgb_with_faces()).save(tmp_path / "a.png")
    tally = fervid.score(tmp_path, str(tmp_path / "s.csv"), detect=False)
    assert (tally.pictures, tally.scored) == (1, 1) and (tmp_path / "s.csv").read_text().count("\n") == 2


def test_explain_writes_a_figure(tmp_path: Path) -> None:
    Image.fromarray(rgb_with_faces()).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("text")
    facts = fervid.explain(tmp_path, tmp_path / "why.png", detect=False)
    assert facts["faces"] == 1 and facts["written"] == str(tmp_path / "why.png") and facts["unreadable"] == 1
    assert list(facts["skipped"]) == [str(tmp_path / "b.png")] and (tmp_path / "why.png").is_file()


def test_options_are_checked_before_data_are_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        fervid.train(tmp_path / "none", tmp_path / "out", epoch=3)
    with pytest.raises(ConfigError, match="test-time augmentation"):
        fervid.evaluate(tmp_path / "none", tta="x")
    with pytest.raises(ConfigError, match="unknown method"):
        fervid.explain(tmp_path / "none", tmp_path / "x.png", method="x")
    assert list(tmp_path.iterdir()) == []
