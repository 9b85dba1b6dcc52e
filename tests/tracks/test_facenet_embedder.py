"""The embedder reads its weights safely, says where to get them, and does not depend on how faces are batched."""

import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from fervid.errors import WeightsError
from fervid.networks.downloads import VGGFACE2
from fervid.tracks.facenet_embedder import FaceNet, find_vggface2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the right shape."""
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    torch.save(InceptionResnetV1(pretrained=None, classify=True, num_classes=3).state_dict(), path)
    return path


def test_embeddings_have_length_one_and_do_not_depend_on_batches(weights: Path) -> None:
    net = FaceNet(str(weights), "cpu")
    faces = np.random.default_rng(0).integers(0, 255, (3, 160, 160), np.uint8)
    found = net.embed(faces)
    assert found.shape == (3, 512) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(net.embed(faces[2:]), found[2:]) and len(net.embed(faces[:0])) == 0
    assert len(net.sha256) == 64


def test_error_without_a_network_suggests_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError) as e:
        find_vggface2("vggface2")
    message = str(e.value)
    assert all(part in message for part in (VGGFACE2, "--persons FILE", "no route to host", str(tmp_path)))
    assert message.count("\n") == 0 and [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_files_that_are_not_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        FaceNet(str(tmp_path / "w.pt"), "cpu")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="not the weights of an InceptionResnetV1"):
        FaceNet(str(tmp_path / "w.pt"), "cpu")
    with pytest.raises(WeightsError, match="no such weights"):
        find_vggface2(str(tmp_path / "elsewhere.pt"))
