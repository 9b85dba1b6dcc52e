"""`--prior` in process, probe, score, evaluate and explain, in pipeline files, and in what `info` shows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fervid
from fervid.timeline.read import read_provenance
from tests.helpers.command_line import ONE_FACE, run
from tests.helpers.face_sets import some_faces, write_parquet

SEVEN = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
STATED = dict.fromkeys(SEVEN, 0.125) | {"neutral": 0.25}


def reweighted(frame: pd.DataFrame, factor: dict[str, float]) -> np.ndarray:
    weighted = frame[list(SEVEN)].to_numpy() * [factor[name] for name in SEVEN]
    return weighted / weighted.sum(1, keepdims=True)


def test_process_reweights_every_reading_and_states_the_prior(tmp_path: Path) -> None:
    street = tmp_path / "street.toml"
    street.write_text("".join(f"{name} = {0.05}\n" for name in SEVEN[:6]) + "neutral = 0.7\n")
    (tmp_path / "mine.toml").write_text(f'prior = "{street}"\nfps = 2\nprecision = "fp32"\n')
    names = {"default": "default", "uniform": "uniform", "street": str(tmp_path / "mine.toml")}
    for name, value in names.items():
        chosen = ("--pipeline", value) if name == "street" else ("--prior", value, "--fps", "2", "--precision", "fp32")
        files = ("--out", tmp_path / f"{name}.parquet", "--faces", tmp_path / f"{name}.faces.parquet")
        assert run("process", ONE_FACE, "--end", "1", *chosen, *files)[0] == 0
    faces = {name: pd.read_parquet(tmp_path / f"{name}.faces.parquet") for name in names}
    expected = reweighted(faces["default"], {name: 1 / STATED[name] for name in SEVEN})
    assert np.allclose(faces["uniform"][list(SEVEN)], expected, atol=1e-5)
    expected = reweighted(faces["default"], dict.fromkeys(SEVEN, 0.05 / 0.125) | {"neutral": 0.7 / 0.25})
    assert np.allclose(faces["street"][list(SEVEN)], expected, atol=1e-5)
    stated = {name: read_provenance(tmp_path / f"{name}.parquet")["model"]["prior"] for name in names}
    assert stated["default"] == {"name": "default", "values": STATED}
    assert stated["street"]["name"] == "street.toml" and stated["street"]["values"]["neutral"] == 0.7
    keys = {read_provenance(tmp_path / f"{name}.parquet")["resume_key"] for name in names}
    assert len(keys) == 3
    shown = run("info", tmp_path / "street.parquet")[1]
    assert "street.toml" in shown and "neutral    0.7" in shown


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, ...]]:
    """A call of each command but for --prior."""
    folder = tmp_path_factory.mktemp("prior")
    faces = some_faces(14)
    Image.fromarray(faces.image[3]).save(folder / "face.png")
    data = write_parquet(folder / "faces.parquet", faces)
    return {
        "process": (ONE_FACE, "--out", folder / "t.parquet"),
        "batch": (ONE_FACE, "--out", folder / "results"),
        "score": (folder / "face.png", "--out", folder / "s.csv"),
        "explain": (folder / "face.png", "--out", folder / "e.png"),
        "evaluate": ("--data", data, "--weights", "seresnet"),
    }


@pytest.mark.parametrize("command", ["process", "batch", "score", "explain", "evaluate"])
def test_a_wrong_prior_is_one_sentence(command: str, inputs: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(STATED | {"neutral": 0.5}))
    assert "wrong.json: the frequencies sum to" in run("probe", ONE_FACE, "--prior", wrong)[2]
    for prior, words in (
        (wrong, "wrong.json: the frequencies sum to 1.25, expected 1"),
        ("even", "prior even: expected default"),
    ):
        code, printed, errors = run(command, *inputs[command], "--prior", prior)
        assert (code, printed) == (2, "") and words in errors and len(errors.strip().splitlines()) == 1, errors


def test_images_and_labelled_faces_are_reweighted_too(inputs: dict[str, tuple[object, ...]], tmp_path: Path) -> None:
    face = inputs["score"][0]
    own, uniform = (fervid.predict(face, prior=prior, precision="fp32") for prior in ("default", "uniform"))
    expected = reweighted(own, {name: 1 / STATED[name] for name in SEVEN})
    assert np.allclose(uniform[list(SEVEN)], expected, atol=1e-5)
    assert run("score", *inputs["score"], "--prior", "UNIFORM")[0] == 0
    assert np.allclose(pd.read_csv(inputs["score"][2])[list(SEVEN)], expected, atol=2e-5)
    facts = json.loads(run("evaluate", *inputs["evaluate"], "--prior", "uniform", "--json")[1])
    assert facts["weights"][0]["prior"] == {"name": "uniform", "values": dict.fromkeys(SEVEN, 0.142857)}
    assert "prior" in run("evaluate", *inputs["evaluate"], "--prior", "uniform")[1]
    assert run("explain", *inputs["explain"], "--prior", "uniform")[0] == 0


def test_info_describes_weights_and_their_terms() -> None:
    shown = run("info", "mobilefacenet")[1]
    assert "non-commercial research" in shown and "80x80, colour" in shown
    facts = fervid.info("seresnet")
    assert facts["heads"]["fer2013"]["prior"]["disgust"] == pytest.approx(0.01527)
    assert "FER2013, which is for research" in facts["terms"]
    code, _, errors = run("info", "gone.safetensors")
    assert code == 2 and "gone.safetensors: no such weights" in errors
