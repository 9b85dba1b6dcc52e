"""Re-weighting by Bayes' rule: identities, the files of users, the key of a result."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fervid.config import Config
from fervid.emotions.facts import Head
from fervid.emotions.prior import Prior, find_prior
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError
from fervid.provenance import models_fingerprint, resume_key

SEVEN = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
WEIGHTS = Path("m.safetensors")
FILE = dict.fromkeys(SEVEN[:6], 1 / 8) | {"neutral": 2 / 8}


def normalised(values: list[float]) -> np.ndarray:
    return np.array(values) / np.sum(values)


def reweighted(prob: np.ndarray, prior: Prior) -> np.ndarray:
    weighted = np.exp(np.log(prob) + prior.log_ratio)
    return weighted / weighted.sum(1, keepdims=True)


frequencies = st.lists(st.floats(1e-3, 1), min_size=7, max_size=7).map(normalised)


def head(prior: np.ndarray | None, trained: tuple[float, ...] | None = None) -> Head:
    return Head("a", SEVEN, 1.0, 0, None if prior is None else tuple(prior), trained)


@given(st.lists(frequencies, min_size=1, max_size=4), frequencies)
def test_reweighting_to_the_stated_prior_changes_nothing(rows: list[np.ndarray], stated: np.ndarray) -> None:
    prob = np.array(rows)
    assert (find_prior("default", head(stated), WEIGHTS).log_ratio == 0).all()
    same = find_prior("trained", head(stated, tuple(stated)), WEIGHTS)
    assert np.allclose(reweighted(prob, same), prob, rtol=1e-12)


@given(st.lists(frequencies, min_size=1, max_size=4), frequencies)
def test_to_uniform_and_back_is_the_identity(rows: list[np.ndarray], stated: np.ndarray) -> None:
    prob = np.array(rows)
    there = reweighted(prob, find_prior("uniform", head(stated), WEIGHTS))
    assert np.allclose(there.sum(1), 1)
    back = reweighted(there, find_prior("trained", head(np.full(7, 1 / 7), tuple(stated)), WEIGHTS))
    assert np.allclose(back, prob, rtol=1e-9)


@given(frequencies, frequencies)
def test_reweighting_is_bayes_rule(likelihood: np.ndarray, stated: np.ndarray) -> None:
    """Posteriors of one likelihood under two priors are each the other, re-weighted."""
    under_stated = normalised(likelihood * stated)[None]
    under_uniform = normalised(likelihood)[None]
    assert np.allclose(reweighted(under_stated, find_prior("uniform", head(stated), WEIGHTS)), under_uniform)


def test_classifier_under_another_prior() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)
    own, uniform, trained = (
        TorchClassifier("seresnet", "cpu", prior=name) for name in ("default", "uniform", "trained")
    )
    prob = own.predict(crop)
    assert np.allclose(uniform.predict(crop), reweighted(prob.astype(np.float64), uniform.prior), atol=1e-6)
    assert np.allclose(trained.predict(crop), prob, atol=1e-6)  # its prior is that of its training data
    assert not np.allclose(uniform.predict(crop), prob, atol=1e-3)
    assert np.allclose(uniform.predict(crop).sum(1), 1, atol=1e-6)
    assert (uniform.predict(crop)[[3, 39]] == np.concatenate([uniform.predict(crop[[k]]) for k in (3, 39)])).all()
    assert uniform.prior.to_dict(uniform.labels) == {"name": "uniform", "values": dict.fromkeys(SEVEN, 0.142857)}


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_prior_of_a_file_matches_classes_by_name(tmp_path: Path, suffix: str) -> None:
    values = dict(reversed(FILE.items()))
    values["happy"] = values.pop("happiness")
    text = json.dumps(values) if suffix == "json" else "".join(f"{k} = {v}\n" for k, v in values.items())
    path = tmp_path / f"street.{suffix}"
    path.write_text(text)
    prior = find_prior(str(path), head(np.full(7, 1 / 7)), WEIGHTS)
    assert (prior.name, prior.values) == (path.name, tuple(FILE.values()))
    assert np.allclose(np.exp(prior.log_ratio), [7 / 8] * 6 + [14 / 8])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FILE | {"neutral": 0.5}, "p.json: the frequencies sum to 1.25, expected 1"),
        ({k: v for k, v in FILE.items() if k != "fear"}, "p.json: fear missing; expected a number for each of anger"),
        (FILE | {"contempt": 0.1}, "p.json: contempt is no class of the head a; expected anger, disgust"),
        (FILE | {"boredom": 0.1}, "p.json: unknown emotion 'boredom'"),
        (FILE | {"fear": 0}, "p.json: fear = 0: expected a number above 0"),
        (FILE | {"fear": -0.1}, "p.json: fear = -0.1: expected a number above 0"),
        (FILE | {"fear": "much"}, "p.json: fear = 'much': expected a number above 0"),
        (FILE | {"fear": True}, "p.json: fear = True: expected a number above 0"),
        ({k: 100 * v for k, v in FILE.items()}, "the frequencies sum to 100, expected 1; divide each by 100"),
        (FILE | {"angry": 0.1}, "p.json: anger occurs twice, as angry too"),
        ([0.1, 0.9], "p.json: expected a number for each emotion, found list"),
    ],
)
def test_prior_that_does_not_fit_is_refused(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as error:
        find_prior(str(path), head(np.full(7, 1 / 7)), WEIGHTS)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_prior_of_a_recipe_is_a_prior_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe_prior.toml"
    path.write_text("[prior]\n" + "".join(f"{k} = {v}\n" for k, v in FILE.items()))
    assert find_prior(str(path), head(np.full(7, 1 / 7)), WEIGHTS).values == tuple(FILE.values())


def test_prior_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    stated = head(np.full(7, 1 / 7))
    with pytest.raises(ConfigError, match=r"prior = .*gone\.toml: no such file; expected default, uniform, trained"):
        find_prior(str(tmp_path / "gone.toml"), stated, WEIGHTS)
    with pytest.raises(ConfigError, match=r"prior = equal: expected default, uniform, trained, or a \.toml"):
        find_prior("equal", stated, WEIGHTS)
    (tmp_path / "p.toml").write_text("anger = = 1")
    with pytest.raises(ConfigError, match=r"p\.toml: not readable as TOML"):
        find_prior(str(tmp_path / "p.toml"), stated, WEIGHTS)
    (tmp_path / "d.toml").mkdir()
    with pytest.raises(ConfigError, match=r"d\.toml: cannot be read"):
        find_prior(str(tmp_path / "d.toml"), stated, WEIGHTS)


def test_weights_that_state_no_prior_cannot_be_reweighted() -> None:
    assert find_prior("default", head(None), WEIGHTS).to_dict(SEVEN) == {"name": "default", "values": None}
    with pytest.raises(ConfigError, match=r"prior = uniform: m\.safetensors does not state the prior of its head a"):
        find_prior("uniform", head(None), WEIGHTS)
    with pytest.raises(ConfigError, match="does not state the frequencies in the training data of its head a"):
        find_prior("trained", head(np.full(7, 1 / 7)), WEIGHTS)


def test_key_of_a_result_changes_with_the_prior(tmp_path: Path) -> None:
    path = tmp_path / "p.json"

    def key(prior: str) -> str:
        config = Config(weights="seresnet", prior=prior)
        return resume_key("content", config, models_fingerprint(config))

    path.write_text(json.dumps(FILE))
    keys = [key("default"), key("uniform"), key(str(path))]
    path.write_text(json.dumps(FILE | {"neutral": 1 / 8, "fear": 2 / 8}))
    keys.append(key(str(path)))
    assert len(set(keys)) == 4
