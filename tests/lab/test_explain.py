"""`fervid explain`: toy networks with known evidence, then the bundled network on a face and a clip."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn

from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import ConfigError, DataError, MissingDependency, OutputError
from fervid.faces.crop import square_places
from fervid.lab.evaluation import attribution
from fervid.lab.evaluation.explain import ExplainConfig, Explained, ExplainedImage, Explainer, explain
from fervid.video.writers.clip import ClipWriter
from fervid.views.figures import heatmaps as figures
from fervid.views.figures.heatmaps import overlay, write_clip, write_explanation, write_grid
from tests.helpers import command_line

ASTRONAUT = skimage.data.astronaut()


class Toy(nn.Module):
    """Class 0 is bright pixels, class 1 dark ones: two feature maps, averaged over the image, one weight each."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(1, 2, 1)
        conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        conv.bias.data.zero_()
        self.features = nn.Sequential(conv, nn.ReLU())
        self.head = nn.Linear(2, 2)
        self.head.weight.data = torch.eye(2)
        self.head.bias.data.zero_()
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


@pytest.fixture
def corners() -> Tensor:
    """A bright patch in the upper left corner and a dark one in the lower right, zero elsewhere."""
    x = torch.zeros(1, 1, 12, 12)
    x[..., :4, :4], x[..., -4:, -4:] = 1, -1
    return x


@pytest.mark.parametrize("method", ["gradcam", "cam", "occlusion"])
def test_heatmap_marks_the_evidence(method: str, corners: Tensor) -> None:
    heat = getattr(attribution, method)(Toy(), corners.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    assert heat.shape == (2, 12, 12)
    bright, dark = heat
    assert bright[:4, :4].min() > 0.4 and bright.max() == 1  # occlusion windows extend beyond the patch
    assert dark[-4:, -4:].min() > 0.4
    bright[:5, :5] = dark[-5:, -5:] = 0
    assert heat.max() == 0


def test_activations_cover_every_stage(corners: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    net[0].weight.data.fill_(2)
    net[0].bias.data.zero_()
    assert [(stage.name, stage.cells) for stage in attribution.stages(net, corners)] == [("0", 12), ("2", 6)]
    first, second = attribution.activations(net, corners)[0]
    assert first[0, 0] == first[-1, -1] == 1  # both patches, light or dark
    assert second[0, 0] == 1 and second[-1, -1] == 0  # the ReLU passes only the bright patch


def test_unsupported_network_error_suggests_another_method(corners: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(ConfigError, match="gradcam"):
        attribution.cam(net, corners, torch.tensor([0]))
    with pytest.raises(ConfigError, match="occlusion"):
        attribution.gradcam(nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), corners, torch.tensor([0]))


def test_missing_captum_error_says_what_to_install(corners: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingDependency, match=r"pip install -e '\.\[lab\]' in the clone"):
        attribution.gradcam(Toy(), corners, torch.tensor([0]))


# -- the bundled model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seresnet() -> TorchClassifier:
    return TorchClassifier("seresnet", "cpu")


@pytest.fixture(scope="module")
def smile() -> np.ndarray:
    face = Image.fromarray(ASTRONAUT[50:180, 160:290]).convert("L").resize((48, 48))
    return np.asarray(face)[None, ..., None]


@pytest.mark.parametrize("method", attribution.METHODS)
def test_every_method_explains_a_smile(method: str, seresnet: TorchClassifier, smile: np.ndarray) -> None:
    (face,) = Explainer(seresnet, method).explain(smile, ["smile"])
    assert (face.emotion, face.predicted) == ("happiness", "happiness") and face.prob > 0.5
    assert face.heat.shape == (4 if method == "activations" else 1, 48, 48)
    assert face.heat.min() >= 0 and face.heat.max() == pytest.approx(1)


def test_gradcam_equals_cam_for_global_average_pooling(seresnet: TorchClassifier, smile: np.ndarray) -> None:
    # Selvaraju et al. 2017, section 3.1: with global average pooling, Grad-CAM equals CAM up to a factor
    (one,), (other,) = (Explainer(seresnet, method).explain(smile, ["smile"]) for method in ("gradcam", "cam"))
    assert np.allclose(one.heat, other.heat, atol=1e-3)


def test_another_emotion_has_different_evidence(seresnet: TorchClassifier, smile: np.ndarray) -> None:
    (happy,) = Explainer(seresnet).explain(smile, ["smile"])
    (sad,) = Explainer(seresnet, target="sad").explain(smile, ["smile"])
    assert (sad.emotion, sad.predicted) == ("sadness", "happiness") and sad.prob < 0.2
    assert not np.allclose(happy.heat, sad.heat, atol=0.1)
    with pytest.raises(ConfigError, match="anger, disgust"):
        Explainer(seresnet, target="contempt")


def run(*args: object) -> tuple[int, str, str]:
    return command_line.run("explain", *args, "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait, a small crop of its face, and an image without a face."""
    images = tmp_path_factory.mktemp("images")
    Image.fromarray(ASTRONAUT).save(images / "portrait $1.png")
    Image.fromarray(ASTRONAUT[50:180, 160:290]).resize((48, 48)).save(images / "small.png")
    Image.fromarray(skimage.data.coffee()).save(images / "no_face.png")
    return images


def test_folder_becomes_a_grid(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = run(folder, "--out", tmp_path / "grid.png")
    assert code == 0 and "2" in printed.splitlines()[0]
    assert printed.splitlines()[-1].split() == [str(folder / "no_face.png"), "no", "face", "found"]
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > grid.height


def test_unreadable_images_are_skipped_and_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a\n.png").write_text("no image")
    (tmp_path / "some" / "empty.jpg").touch()
    with pytest.raises(DataError, match="none of 2 images can be read"):
        explain(tmp_path / "some", list, ExplainConfig(), "seresnet", "cpu")
    (tmp_path / "some" / "small.png").write_bytes((folder / "small.png").read_bytes())
    code, printed, _ = run(tmp_path / "some", "--out", tmp_path / "grid.png")
    assert code == 1 and (tmp_path / "grid.png").is_file() and printed.split()[:2] == ["faces", "1"]
    broken, empty = printed.splitlines()[-2:]
    assert r"a\n.png" in broken and "cannot be read as an image" in broken and "empty.jpg" in empty
    code, _, error = run(tmp_path / "some" / "empty.jpg", "--out", tmp_path / "one.png")
    assert code == 2 and "the file is empty" in error and not (tmp_path / "one.png").exists()


def test_error_for_an_image_without_a_face_suggests_no_detect(folder: Path, tmp_path: Path) -> None:
    code, _, error = run(folder / "no_face.png", "--out", tmp_path / "grid.png")
    assert code == 2 and "--no-detect" in error and not (tmp_path / "grid.png").exists()
    assert run(folder / "no_face.png", "--out", tmp_path / "grid.png", "--no-detect")[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--out", "a.gif"], ".mp4"),
        (["--out", "a.mp4"], ".png"),
        (["--out", "a.png", "--method", "lime"], "occlusion"),
        (["--out", "a.png", "--emotion", "glee"], "happiness"),
    ],
)
def test_invalid_options_exit_2(
    args: list[str], words: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run(folder / "small.png", *args)
    assert code == 2 and words in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


# -- a video --------------------------------------------------------------------------------------------


def test_grid_of_one_track(tmp_path: Path) -> None:
    samples = explain(command_line.SAMPLES / "two_faces.mp4", list, ExplainConfig(fps="1", track=1), "seresnet", "cpu")
    assert len(samples) == 6
    names = [face.name for sample in samples for face in sample.faces]
    assert names[0] == "track 1, 0.0 s" and all(name.startswith("track 1,") for name in names)
    assert all(len(sample.faces) == len(sample.place_px) for sample in samples)
    assert write_grid(samples, tmp_path / "grid.png") == len(names)
    with pytest.raises(DataError, match="track 9"):
        explain(command_line.SAMPLES / "two_faces.mp4", list, ExplainConfig(fps="1", track=9), "seresnet", "cpu")


def test_clip_keeps_the_times_of_the_video(tmp_path: Path) -> None:
    code, _, _ = run(command_line.SAMPLES / "cut_to_nobody.mp4", "--out", tmp_path / "clip.mp4", "--fps", "1")
    assert code == 0 and [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]
    assert [time for time, _ in frames] == [0, 1, 2, 3, 4, 5]  # with and without a face
    assert frames[0][1].shape == (360, 640, 3)


def test_damaged_video_is_explained_again_from_its_start(tmp_path: Path) -> None:
    data = bytearray((command_line.SAMPLES / "one_face.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    (tmp_path / "damaged.mp4").write_bytes(data)
    calls = []

    def draw(samples: object) -> list[ExplainedImage]:
        calls.append(1)
        return list(samples)

    samples = explain(tmp_path / "damaged.mp4", draw, ExplainConfig(fps="1"), "seresnet", "cpu")
    assert len(calls) == 2 and samples[0].pts_s == 0


# -- drawing --------------------------------------------------------------------------------------------


def explained_image(
    square: tuple[float, float, float, float], heat: np.ndarray, pts_s: float | None = 0.0
) -> ExplainedImage:
    face = Explained(
        "a", np.zeros((8, 8, 1), np.uint8), heat[None].astype(np.float32), ("gradcam",), "fear", 0.5, "fear"
    )
    return ExplainedImage(np.full((480, 640, 3), 100, np.uint8), (face,), square_places(np.array([square])), pts_s)


def test_heatmap_is_drawn_over_the_rotated_square() -> None:
    heat = np.zeros((8, 8))
    heat[:, 4:] = 1  # the right half of the crop
    drawn = overlay(explained_image((320, 240, 100, np.pi / 2), heat)).astype(
        int
    )  # rotated by 90 degrees: right becomes down
    changed = np.abs(drawn - 100).sum(2) > 60
    assert changed[255:280, 290:350].all() and not changed[205:225, 290:350].any()
    assert not changed[320:].any() and not changed[:, :200].any()


def test_clips_have_even_sides_and_leave_no_temporary_files(tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "a.mp4", 25) as clip:
        for i in range(3):
            clip.write(np.full((33, 51, 3), 80 * i, np.uint8), i * 0.4)
    with av.open(str(tmp_path / "a.mp4")) as made:
        frames = list(made.decode(video=0))
    assert (frames[0].width, frames[0].height) == (50, 32)
    assert [round(frame.time, 3) for frame in frames] == [0, 0.4, 0.8]
    with pytest.raises(OutputError, match=r"\.png"):
        write_clip([explained_image((320, 240, 100, 0), np.ones((8, 8)), None)], tmp_path / "b.mp4")
    with pytest.raises(DataError, match="no face"):
        write_explanation([], tmp_path / "c.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_grid_is_limited_to_a_maximum_of_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_MAX_FACES", 5)
    many = [explained_image((0, 0, 1, 0), np.ones((8, 8)))] * 7
    assert write_grid(many, tmp_path / "a.png") == 5
