"""Checks that a GPU gives the results of the CPU, as functions of the device: for test_gpu.py and benchmarks/gpu.py.

Each returns its measurements and raises AssertionError beyond its tolerance. On "cpu" they hold the same code to the
same tolerances, except for what only a GPU has.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch

from fervid.config import load_config
from fervid.cuda.crops import cut_faces
from fervid.cuda.mtcnn import DeviceMTCNN
from fervid.cuda.pipeline import DevicePipeline
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.faces.crop import add_colour, crop_face, square_places
from fervid.faces.mtcnn import MTCNN
from fervid.lab.data.images import as_channels
from fervid.models import Models, load_models
from fervid.networks.weights import bundled
from fervid.pipeline import process_video
from fervid.video.open import open_video
from tests.benchmarks.detection import match
from tests.helpers.compare_timelines import differences

SAMPLES = Path(__file__).parents[2] / "sample_videos"
NAMES = ("one_face.mp4", "two_faces.mp4", "cut_to_nobody.mp4")
Facts = dict[str, float | str]


def detector(device: str) -> Facts:
    """Compare boxes and scores in the sample videos: IoU >= 0.98, scores within 0.01."""
    worst: Facts = {"faces": 0, "iou": 1.0, "score": 0.0}
    found_by, expected_by = DeviceMTCNN(device), MTCNN()
    for name in NAMES[:2]:
        images = _images(name, 20, 6)
        expected, found = expected_by.detect(images), found_by.detect(torch.from_numpy(images).to(device), 20)
        pairs, overlap = match(expected, found)
        assert len(pairs) == len(expected) == len(found), (name, len(expected), len(found))
        off = np.abs(expected.score[pairs[:, 0]] - found.score[pairs[:, 1]]).max()
        worst = {
            "faces": worst["faces"] + len(pairs),  # type: ignore[operator]
            "iou": min(float(worst["iou"]), float(overlap.min())),
            "score": max(float(worst["score"]), float(off)),
        }
    assert float(worst["iou"]) >= 0.98 and float(worst["score"]) <= 0.01, worst
    return worst


def crops(device: str) -> Facts:
    """Compare rotated crops: greys within 2 of 255, colours within 4."""
    r = np.random.default_rng(0)
    image = _images("two_faces.mp4", 10, 4)
    luma = image[..., 1].copy()
    square = np.stack([r.uniform(0, 640, 64), r.uniform(0, 360, 64), r.uniform(8, 400, 64), r.uniform(-2, 2, 64)], 1)
    frame, place = np.arange(64) % 4, square_places(square)
    expected = np.stack([crop_face(luma[f], one, 48, limited=True) for f, one in zip(frame, place)])
    found = cut_faces(torch.from_numpy(luma).to(device), frame, place, 48, limited=True)
    off = np.abs(expected[..., None].astype(int) - found)
    assert off.max() <= 2, off.max()
    small = image[:, ::2, ::2].copy()
    colours = [crop_face(small[f], one, 24, (0.5, 0.5)) for f, one in zip(frame, place)]
    expected = add_colour(expected, np.stack(colours))
    planes, rgb = torch.from_numpy(luma).to(device), torch.from_numpy(small).to(device)
    colour_off = np.abs(expected.astype(int) - cut_faces(planes, frame, place, 48, limited=True, image=rgb))
    assert colour_off.max() <= 4, colour_off.max()
    facts: Facts = {"largest": int(off.max()), "mean": float(off.mean())}
    return facts | {"largest, colour": int(colour_off.max()), "mean, colour": float(colour_off.mean())}


def classifier(device: str) -> Facts:
    """Compare probabilities of 300 crops with those of the CPU in fp32: in fp32 within 0.002, in bf16 0.1 or 0.05."""
    places = square_places(np.array(list(_around())))
    images = _images("one_face.mp4", 10, 12)
    off: Facts = {}
    for name in bundled():
        exact = TorchClassifier(name, "cpu", precision="fp32")
        shown = images if exact.channels == 3 else images[..., 1]
        crop = np.stack([crop_face(one, place, exact.crop_px) for one in shown for place in places])
        crop = as_channels(crop, exact.channels)
        expected = exact.predict(crop)
        for precision, tolerance in (("fp32", 0.002), ("bf16", 0.05 if name == "seresnet" else 0.1)):
            found = TorchClassifier(name, device, precision=precision).predict(crop)
            key = f"{name} {precision}"
            off[key] = float(np.abs(found - expected).max())
            assert float(off[key]) <= tolerance, off
    return off


def timelines(
    device: str, *, reader: str = "av", precision: str = "fp32", box: float = 0.005, prob: float = 0.02
) -> Facts:
    """Compare timelines of the sample videos: same rows and dominant emotions, boxes within `box` of the image's size.

    The reference is the pipeline on the CPU in fp32, which shares little code with the GPU's from frames to faces.
    """
    worst: Facts = {"box": 0.0, "prob": 0.0}
    on_device = _models(device, precision)
    for name, expected in _timelines_of_the_cpu().items():
        found = process_video(SAMPLES / name, None, replace(_CONFIG, reader=reader), on_device)
        off = differences(expected, found.to_pandas())
        assert off["rows_that_differ"] == off["other_dominant"] == 0, (name, off)
        assert off["box"] <= box and off["prob"] <= prob, (name, off)
        worst |= {key: max(float(worst[key]), float(off[key])) for key in ("box", "prob")}
        worst["decoder"] = found.provenance["decoder"]
        by_nvdec = reader in ("nvdec", "torchcodec") and device != "cpu"
        assert worst["decoder"] == ("nvdec" if by_nvdec else "cpu"), (name, worst)
    return worst


_CONFIG = load_config(fps=5, detection="every", precision="fp32", device="cpu")


@cache
def _timelines_of_the_cpu() -> dict[str, pd.DataFrame]:
    models = load_models(_CONFIG)
    return {name: process_video(SAMPLES / name, None, _CONFIG, models).to_pandas() for name in NAMES}


def default_precision(device: str) -> Facts:
    """Compare timelines in the default precision of the device."""
    return timelines(device, precision="auto", prob=0.06)


def twice(device: str) -> Facts:
    """Process one video twice with the same models: identical timelines."""
    models, config = _models(device), load_config(fps="native", end_s=3.0, precision="fp32")
    one, other = (process_video(SAMPLES / "two_faces.mp4", None, config, models).table for _ in range(2))
    assert one.equals(other)
    return {"rows": one.num_rows}


def memory(device: str) -> Facts:
    """With too little memory for a batch, batches become smaller and the timeline stays the same."""
    models, config = _models(device), load_config(fps=10, precision="fp32")
    whole = process_video(SAMPLES / "two_faces.mp4", None, config, models).to_pandas()
    with _scarce(device):
        scarce = process_video(SAMPLES / "two_faces.mp4", None, config, models).to_pandas()
    off = differences(whole, scarce)
    assert off["rows_that_differ"] == off["other_dominant"] == 0 and off["box"] < 1e-3, off
    pipeline = models.on_device
    assert isinstance(pipeline, DevicePipeline)
    if device != "cpu":
        assert pipeline.batch_size < 64, "memory sufficed: this check tests nothing"
    return {"batch_size": pipeline.batch_size}


def nvdec_frames(device: str) -> Facts:
    """Compare frames of NVDEC: the same times and luma as on the CPU, images within 3 on average."""
    worst: Facts = {"luma": 0, "image": 0.0, "frames": 0}
    for name in NAMES:
        with (
            open_video(SAMPLES / name) as reference,
            open_video(SAMPLES / name, reader="nvdec", device=device) as video,
        ):
            for expected, found in zip(reference.frames(), video.frames(), strict=True):
                assert abs(expected.pts_s - found.pts_s) < 1e-9
                luma = np.abs(expected.luma().astype(int) - found.luma()).max()
                seen = torch.as_tensor(found.rgb(320, 180)).cpu().numpy()
                image = np.abs(expected.rgb(320, 180).astype(int) - seen).mean()
                worst["luma"] = max(int(worst["luma"]), int(luma))
                worst["image"] = max(float(worst["image"]), float(image))
                worst["frames"] = int(worst["frames"]) + 1
            assert video.health.decoder == "nvdec"
    assert int(worst["luma"]) == 0 and float(worst["image"]) < 3, worst
    return worst


def nvdec(device: str) -> Facts:
    """Compare timelines with NVDEC; images differ by rounding, so boxes may differ by 0.01."""
    return timelines(device, reader="nvdec", box=0.01, prob=0.06)


def by_torchcodec(device: str) -> Facts:
    """Compare timelines with torchcodec, whose luma is computed from RGB."""
    return timelines(device, reader="torchcodec", box=0.02, prob=0.10)


#: Name -> check. Those in ONLY_ON_A_GPU check nothing elsewhere.
CHECKS: dict[str, Callable[[str], Facts]] = {
    "detector": detector,
    "crops": crops,
    "classifier": classifier,
    "timelines": timelines,
    "default_precision": default_precision,
    "twice": twice,
    "memory": memory,
    "nvdec_frames": nvdec_frames,
    "nvdec": nvdec,
    "torchcodec": by_torchcodec,
}
ONLY_ON_A_GPU = ("nvdec_frames", "nvdec")
BY_NVDEC = (*ONLY_ON_A_GPU, "torchcodec")


def missing(name: str, device: str) -> str:
    """The reason why a check cannot run here; "" if it can."""
    if name in ONLY_ON_A_GPU and device == "cpu":
        return "needs a GPU"
    if name in BY_NVDEC and device != "cpu":
        try:
            ctypes.CDLL("libnvcuvid.so.1")
        except OSError as e:
            return f"the driver's decoder library was not found ({e}): add its folder to LD_LIBRARY_PATH"
    if name == "torchcodec":
        try:
            import torchcodec.decoders  # noqa: F401
        except (ImportError, OSError, RuntimeError) as e:
            return f"torchcodec: {str(e).splitlines()[0][:80]}"
    return ""


def _models(device: str, precision: str = "fp32") -> Models:
    models = load_models(load_config(device=device, precision=precision))
    return models if models.on_device else replace(models, on_device=DevicePipeline(device))


def _images(name: str, every: int, n: int) -> np.ndarray:
    with av.open(str(SAMPLES / name)) as container:
        chosen = islice(container.decode(video=0), 0, n * every, every)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in chosen])


def _around() -> np.ndarray:
    """25 squares around the middle of the image of a sample video."""
    return np.array([(320 + 20 * i, 170 + 20 * j, 160, 0.05 * i) for i in range(-2, 3) for j in range(-2, 3)])


@contextmanager
def _scarce(device: str) -> Iterator[None]:
    """Limit torch to 300 MB more than it has: a batch of 64 images of 640x360 takes more."""
    if device == "cpu":
        yield
        return
    torch.cuda.empty_cache()
    index = torch.device(device).index or 0
    share = (torch.cuda.memory_reserved(index) + 3e8) / torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(share, index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
