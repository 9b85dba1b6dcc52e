"""The pipeline for a GPU, run on a CPU: the same code, compared with the pipeline of the CPU."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import skimage
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fervid.config import load_config
from fervid.cuda import batch_size, boxes, crops
from fervid.cuda.batch_size import max_batch_size, retry_smaller
from fervid.cuda.boxes import nms
from fervid.cuda.crops import cut_faces, thumbnails_of
from fervid.cuda.mtcnn import DeviceMTCNN
from fervid.cuda.pipeline import DevicePipeline
from fervid.emotions.torch_classifier import TorchClassifier
from fervid.errors import DeviceError, VideoError
from fervid.faces.crop import crop_face, square_boxes, square_places
from fervid.faces.detect import _cut_out
from fervid.faces.detector import Detections
from fervid.faces.integral_image import IntegralImage, bins
from fervid.faces.mtcnn import MTCNN
from fervid.faces.nms import nms as nms_on_cpu
from fervid.models import Models, load_models
from fervid.pipeline import find_faces, process_video
from fervid.runtime.cuda_graphs import CUDAGraphModule
from fervid.runtime.device import deterministic_fp32, is_out_of_memory, wrap_out_of_memory
from fervid.types import FrameBatch, concatenate, thumbnails
from fervid.video.geometry import ORIENTATIONS
from fervid.video.open import open_video
from fervid.video.reader import full_range
from fervid.video.readers import tensor_resize
from fervid.video.readers.nvdec import Nv12Frame
from fervid.video.readers.pyav_frame import PyAVFrame, Scalers
from fervid.video.readers.tensor_frame import full_range_of
from fervid.video.readers.tensor_resize import TensorIntegralImage
from fervid.video.readers.torchcodec import DeviceFrame
from fervid.video.sampling import sample_frames
from tests.helpers.clips import two_sizes, write_clip
from tests.helpers.compare_timelines import differences
from tests.helpers.fakes import AFFINE, FakeClassifier, FakeDetector
from tests.helpers.hypothesis_settings import steady

CPU = torch.device("cpu")
SAMPLES = Path(__file__).parents[2] / "sample_videos"
GREY = (skimage.data.astronaut() @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


@pytest.fixture(scope="module")
def detector() -> DeviceMTCNN:
    return DeviceMTCNN("cpu")


@pytest.fixture
def torchcodec() -> None:
    """Skip where torchcodec, or FFmpeg's shared libraries that it needs, are missing."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError) as e:
        pytest.skip(f"torchcodec: {str(e).splitlines()[0][:80]}")


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(load_config(device="cpu", precision="fp32"))


def _images(name: str, *, every: int, n: int) -> np.ndarray:
    with av.open(str(SAMPLES / name)) as container:
        chosen = islice(container.decode(video=0), 0, n * every, every)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in chosen])


# -- faces ------------------------------------------------------------------------------------------------


def _assert_same(expected: Detections, found: Detections) -> None:
    np.testing.assert_array_equal(found.frame, expected.frame, strict=True)
    np.testing.assert_allclose(found.box_px, expected.box_px, atol=2e-3, strict=True)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5, strict=True)
    np.testing.assert_allclose(found.landmarks_px, expected.landmarks_px, atol=2e-3, strict=True)


@pytest.mark.parametrize("name", ["one_face.mp4", "two_faces.mp4"])
@pytest.mark.parametrize("min_face_px", [12, 20, 61.5])
def test_finds_what_the_cpu_finds(detector, name, min_face_px):
    images = _images(name, every=40, n=3)
    expected = MTCNN().detect(images, min_face_px)
    assert len(expected) >= 3
    _assert_same(expected, detector.detect(torch.from_numpy(images), min_face_px))


@pytest.mark.parametrize("pairs", [2**24, 100])
def test_agrees_on_weak_candidates(monkeypatch, pairs):
    """Low thresholds pass thousands of weak candidates; with few pairs, faces/nms.py processes whole images."""
    monkeypatch.setattr(boxes, "_PAIRS", pairs)
    images, thresholds = skimage.data.coffee()[None, ::3, ::3].repeat(2, 0), (0.2, 0.05, 0.005)
    expected = MTCNN(thresholds=thresholds).detect(images)
    assert len(expected) > 5
    found = DeviceMTCNN("cpu", thresholds=thresholds).detect(torch.from_numpy(images), 20)
    assert np.bincount(found.frame).tolist() == np.bincount(expected.frame).tolist()
    _assert_same(expected, found)


@pytest.mark.parametrize("shape", [(0, 90, 120, 3), (2, 90, 120, 3), (1, 1, 640, 3), (1, 11, 11, 3)])
def test_nothing_to_find(detector, shape):
    found = detector.detect(torch.zeros(shape, dtype=torch.uint8), 20)
    assert [getattr(found, k).shape for k in ("frame", "box_px", "score", "landmarks_px")] == [
        (0,),
        (0, 4),
        (0,),
        (0, 5, 2),
    ]
    assert found.frame.dtype == np.int64


@given(st.data())
@steady
def test_nms_is_that_of_the_cpu(data):
    m = data.draw(st.integers(0, 60))
    r = np.random.default_rng(data.draw(st.integers(0, 99)))
    corner = r.integers(0, 60, (m, 2))
    box = np.concatenate([corner, corner + r.integers(5, 40, (m, 2))], 1).astype(np.float32)
    score, frame, group = r.random(m).astype(np.float32), r.integers(0, 4, m), r.integers(0, 3, m)
    of_smaller = data.draw(st.booleans())
    for groups in (np.zeros(m, np.int64), group):
        expected = nms_on_cpu(box, score, frame * 3 + groups, 0.5, of_smaller=of_smaller)
        columns = map(torch.from_numpy, (box, score, frame))
        kept = nms(*columns, 0.5, group=torch.from_numpy(groups), of_smaller=of_smaller).numpy()
        assert sorted(kept) == sorted(expected)
        assert kept.tolist() == sorted(kept, key=lambda i: (frame[i], -score[i]))


@pytest.mark.parametrize("whole", [tensor_resize._PIXELS_32, 0])
def test_area_means_are_those_of_the_cpu(monkeypatch, whole):
    """With the limit 0, sums have 64 bits, as for images of more than 8 million pixels."""
    monkeypatch.setattr(tensor_resize, "_PIXELS_32", whole)
    images = np.random.default_rng(1).integers(0, 256, (2, 90, 131, 3), np.uint8)
    table, found = IntegralImage(images, CPU), TensorIntegralImage(torch.from_numpy(images))
    level = table.mean(np.arange(2), bins(0, 90, 40), bins(0, 131, 77))
    torch.testing.assert_close(found.level(40, 77), level, rtol=0, atol=1e-4)
    frame, box = np.array([0, 1, 1]), np.array([[0, 0, 131, 90], [5, 6, 7, 8], [100, 3, 130, 80]])
    crop = table.crop(frame, box, (24, 24))
    torch.testing.assert_close(found.crop(torch.tensor(frame), torch.tensor(box), 24), crop, rtol=0, atol=1e-4)


# -- crops ------------------------------------------------------------------------------------------------


def _places(m: int) -> np.ndarray:
    """Squares of all sizes and angles, some partly or wholly outside the image."""
    r = np.random.default_rng(0)
    return square_places(
        np.stack([r.uniform(-30, 530, m), r.uniform(-30, 390, m), r.uniform(6, 500, m), r.uniform(-2, 2, m)], 1)
    )


@pytest.mark.parametrize("stretch, limited", [((1.0, 1.0), False), ((1.0, 1.0), True), ((0.75, 1.0), True)])
@pytest.mark.parametrize("size_px", [48, 160])
def test_crops_are_those_of_the_cpu(stretch, limited, size_px):
    luma, place = np.stack([GREY[:360, :500], GREY[100:460, :500]]), _places(40)
    frame = np.arange(40) % 2
    expected = np.stack([crop_face(luma[f], one, size_px, stretch, limited=limited) for f, one in zip(frame, place)])
    found = cut_faces(torch.from_numpy(luma), frame, place, size_px, stretch=stretch, limited=limited)
    off = np.abs(found.astype(int) - expected[..., None])
    assert off.max() <= 2
    assert off.mean() < 0.05


@pytest.mark.parametrize("small", [(300, 216), (480, 360)])
@pytest.mark.parametrize("stretch", [(1.0, 1.0), (0.75, 1.0)])
def test_colours_are_those_of_the_cpu(stretch, small):
    colour = skimage.data.astronaut()
    whole = np.stack([colour[:360, :480], colour[100:460, :480]])
    luma = np.stack([GREY[:360, :480], GREY[100:460, :480]])
    image = np.stack([np.asarray(Image.fromarray(one).resize(small, Image.Resampling.BOX)) for one in whole])
    frame, r = np.arange(40) % 2, np.random.default_rng(1)
    sides = r.uniform(20, 300, (40, 1, 1))
    marks = (np.array(AFFINE.landmarks) - 0.5 + r.normal(0, 0.03, (40, 5, 2))) * sides + r.uniform(0, 400, (40, 1, 2))
    place = AFFINE.places(np.zeros((40, 4)), marks)
    batch = FrameBatch(np.zeros(2), np.ones(2), image, tuple(luma), size_px=(round(480 / stretch[0]), 360))
    expected = _cut_out(batch, frame, place, 80, 3, rough=False)
    planes = torch.from_numpy(luma)
    found = cut_faces(planes, frame, place, 80, stretch=stretch, image=torch.from_numpy(image))
    off = _apart(found, expected)
    assert off.max() <= 3 and off.mean() < 0.1
    swapped = cut_faces(planes, frame, place, 80, stretch=stretch, image=torch.from_numpy(image[..., ::-1].copy()))
    assert _apart(swapped, expected).mean() > 10
    assert cut_faces(planes, frame[:0], place[:0], 80, image=torch.from_numpy(image)).shape == (0, 80, 80, 3)


def test_crops_do_not_depend_on_the_batch(monkeypatch):
    luma, place = torch.from_numpy(GREY[None]), _places(20)
    frame = np.zeros(20, np.int64)
    together = cut_faces(luma, frame, place, 48)
    monkeypatch.setattr(crops, "_PIXELS", 1)
    apart = cut_faces(luma, frame, place, 48)
    assert np.abs(together.astype(int) - apart).max() <= 1  # float sums in another order
    assert cut_faces(luma, frame[:0], place[:0], 48).shape == (0, 48, 48, 1)
    assert cut_faces(luma, frame, place, 0).shape == (20, 0, 0, 1)


@pytest.mark.parametrize("shape", [(360, 640), (480, 600), (100, 50), (17, 20)])
def test_thumbnails_are_those_of_the_cpu(shape):
    images = np.random.default_rng(2).integers(0, 256, (3, *shape, 3), np.uint8)
    np.testing.assert_array_equal(thumbnails_of(torch.from_numpy(images)), thumbnails(images), strict=True)
    assert thumbnails_of(torch.from_numpy(images[:0])).shape == (0, 18, 32, 3)


def test_stretches_luma_as_the_cpu_does():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(full_range_of(torch.from_numpy(every).float()).numpy(), full_range(every))


# -- frames on the device ---------------------------------------------------------------------------------


def _decoded(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


@pytest.mark.parametrize("size_px", [(640, 360), (320, 180), (333, 187)])
@pytest.mark.parametrize("matrix", [1, 2, 9])
def test_nv12_becomes_the_image_of_the_cpu(size_px, matrix):
    """On a GPU the planes come from NVDEC by DLPack, here in the same way from an NV12 frame in memory."""
    frame = _decoded(SAMPLES / "one_face.mp4")
    frame.colorspace = matrix
    planes = frame.reformat(format="nv12")
    planes.colorspace = matrix
    found, expected = Nv12Frame(planes, 0.0, 0.04), PyAVFrame(frame, 0.0, 0.04, Scalers())
    luma, limited = found.stored_luma()
    np.testing.assert_array_equal(luma.numpy(), expected.stored_luma()[0], strict=True)
    assert limited == expected.stored_luma()[1]
    np.testing.assert_array_equal(found.luma(), expected.luma(), strict=True)
    off = _apart(found.rgb(*size_px).numpy(), expected.rgb(*size_px))
    assert off.mean() < 2
    assert np.percentile(off, 99) <= (3 if 640 % size_px[0] == 0 else 12)  # swscale rounds odd ratios differently


def test_rows_may_be_padded(tmp_path):
    """As on a GPU, to multiples of 256 bytes and more."""
    frame = _decoded(write_clip(tmp_path / "narrow.mp4", n=1, size=(126, 94)))
    planes = frame.reformat(format="nv12", width=126, height=94)
    assert planes.planes[0].line_size > planes.width
    found, expected = Nv12Frame(planes, 0.0, 0.04), PyAVFrame(frame, 0.0, 0.04, Scalers())
    np.testing.assert_array_equal(found.luma(), expected.luma(), strict=True)
    assert _apart(found.rgb(64, 48).numpy(), expected.rgb(64, 48)).mean() < 3


def test_ten_bits_become_eight():
    frame = _decoded(SAMPLES / "one_face.mp4")
    ten = frame.reformat(format="p010le")
    off = _apart(Nv12Frame(ten, 0.0, 0.04).stored_luma()[0].numpy(), PyAVFrame(frame, 0, 0, Scalers()).stored_luma()[0])
    assert off.max() <= 1


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_nv12_is_displayed_upright(tmp_path, name):
    path = write_clip(tmp_path / "turned.mp4", n=2, orientation=ORIENTATIONS[name])
    with open_video(path) as video:
        expected = next(iter(video.frames()))
    nv12 = expected._frame.reformat(format="nv12")
    nv12.opaque = expected.geometry  # reformat drops it; frames of NVDEC keep it
    found = Nv12Frame(nv12, 0.0, 0.04)
    assert found.size_px == expected.size_px == (128, 96)
    assert _apart(found.rgb(64, 48).numpy(), expected.rgb(64, 48)).mean() < 3
    np.testing.assert_array_equal(found.luma(), expected.luma(), strict=True)


def test_torchcodec_frames_on_a_device_are_those_of_the_cpu(torchcodec):
    with open_video(SAMPLES / "one_face.mp4", reader="torchcodec") as video:
        for frame in islice(video.frames(), 3):
            found = DeviceFrame(video, frame._number, frame.pts_s, frame.duration_s)
            assert _apart(found.rgb(320, 180).numpy(), frame.rgb(320, 180)).max() <= 1
            np.testing.assert_array_equal(found.luma(), frame.luma(), strict=True)
            assert isinstance(found.stored_luma()[0], torch.Tensor)


def test_a_pipeline_of_device_frames(models, torchcodec):
    """Frames that are on the device already are used as they are, with the same faces."""
    config = load_config(device="cpu", reader="torchcodec", fps=2, end_s=2.0, detection="every", precision="fp32")
    models = replace(models, on_device=DevicePipeline("cpu"))
    results = []
    for kind in (None, DeviceFrame):
        with open_video(SAMPLES / "two_faces.mp4", reader="torchcodec") as video:
            chosen = sample_frames(video.frames(0.0, 2.0), 2)
            samples = [(kind(video, f._number, f.pts_s, 0.1) if kind else f, t, d) for f, t, d in chosen]
            results.append(list(find_faces(iter(samples), video.info, config, models)))
    one, other = results
    assert [len(batch) for batch in one] == [len(batch) for batch in other] and sum(map(len, one)) == 8
    for a, b in zip(one, other):
        np.testing.assert_allclose(a.box_px, b.box_px, atol=1.0)


# -- memory -----------------------------------------------------------------------------------------------


@given(n=st.integers(1, 100), fits=st.integers(1, 100))
@steady
def test_batches_that_do_not_fit_are_halved_and_nothing_is_lost(n, fits):
    tried = []

    def work(items: list[int]) -> list[int]:
        tried.append(len(items))
        if len(items) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return items

    lowered: list[int] = []
    done = retry_smaller(list(range(n)), work, lowered.append, "a frame of 8x8")
    assert [i for part in done for i in part] == list(range(n))
    assert min(lowered, default=n) <= max(fits, 1) or n <= fits
    assert len(tried) < 2 * n


def test_an_item_that_does_not_fit_is_reported():
    def work(items: list[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    with pytest.raises(VideoError, match=r"film.mp4: a frame of 8x8 does not fit .* --device cpu") as caught:
        retry_smaller([1, 2, 3], work, lambda _: None, "film.mp4: a frame of 8x8")
    assert caught.value.reason == "too_large"


def test_too_little_memory_for_the_networks_is_reported():
    with (
        pytest.raises(DeviceError, match="cuda:1 has too little free memory for the networks"),
        wrap_out_of_memory("cuda:1"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def test_out_of_memory_errors_of_cuda_are_recognised():
    for message in (
        "CUDA error: out of memory\nmore",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
    ):
        with (
            pytest.raises(DeviceError, match=r"cuda:0 has too little free memory for the networks \(CUDA error"),
            wrap_out_of_memory("cuda:0"),
        ):
            raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="misaligned address"), wrap_out_of_memory("cuda:0"):
        raise RuntimeError("CUDA error: misaligned address")
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    except RuntimeError as e:
        assert is_out_of_memory(e)


def test_copies_wait_for_the_search_that_holds_the_memory(monkeypatch):
    pipeline = DevicePipeline("cpu", _Scarce(100))  # type: ignore[arg-type]
    stack = pipeline._stack

    def scarce(arrays: Sequence) -> torch.Tensor:
        if not pipeline._lock.locked():
            raise RuntimeError("CUDA error: out of memory")
        return stack(arrays)

    monkeypatch.setattr(pipeline, "_stack", scarce)
    with open_video(SAMPLES / "one_face.mp4") as video:
        samples = [(frame, frame.pts_s, 0.04) for frame in islice(video.frames(), 9)]
        assert [len(batch) for batch in pipeline.upload(samples, video.info, lambda frame_px: (64, 36))] == [8, 1]


# -- precision --------------------------------------------------------------------------------------------


def _precision() -> tuple:
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_float32_is_exact_until_the_last_thread_is_done():
    before = _precision()
    assert before[1] == "tf32"
    one, other = deterministic_fp32(), deterministic_fp32()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert _precision() == (True, "ieee", "ieee")
    other.__exit__(None, None, None)
    assert _precision() == before


def test_float32_is_exact_under_any_torch_settings():
    backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend, precision in zip(backends, ("ieee", "tf32")):  # torch's older names for these now raise
            backend.fp32_precision = precision
        with pytest.raises(ValueError, match="within"), deterministic_fp32():
            assert _precision() == (True, "ieee", "ieee")
            raise ValueError("within")
        assert _precision() == (False, "ieee", "tf32")
    finally:
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


def test_the_classifier_takes_the_largest_batch_that_fits(monkeypatch):
    tried: list[int] = []

    def scarce(function, example: torch.Tensor) -> CUDAGraphModule:
        tried.append(len(example))
        if len(example) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return CUDAGraphModule(function, example)

    crop = np.random.default_rng(3).integers(0, 256, (40, 48, 48, 1), np.uint8)
    expected = TorchClassifier("seresnet", "cpu").predict(crop)
    monkeypatch.setattr("fervid.emotions.torch_classifier.CUDAGraphModule", scarce)
    classifier = TorchClassifier("seresnet", "cpu")
    assert classifier._answer.shape[0] == 8  # on a GPU it is recorded while the weights are loaded
    np.testing.assert_allclose(classifier.predict(crop), expected, atol=1e-6)
    assert tried == [32, 16, 8]


def test_the_batch_size_follows_from_the_free_memory(monkeypatch):
    free = {"bytes": 140 * 2**30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"], 0))
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda _: 0)
    gpu = torch.device("cuda", 0)
    assert max_batch_size(gpu, 640 * 360, 1920 * 1080) == 64
    assert 1 <= max_batch_size(gpu, 640 * 360, 7680 * 4320) < 10  # page-locked memory is what is scarce
    free["bytes"] = 2**30
    assert 1 < max_batch_size(gpu, 640 * 360, 1920 * 1080) < 10
    free["bytes"] = 0
    assert max_batch_size(gpu, 640 * 360, 1920 * 1080) == 1


class _Scarce(FakeDetector):
    """A detector for images on a device that has memory for at most `most` of them."""

    def __init__(self, most: int) -> None:
        self.most, self.failed = most, 0

    def detect(self, images: torch.Tensor | np.ndarray, min_face_px: float) -> Detections:
        if len(images) > self.most:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().detect(np.asarray(images), min_face_px)


def test_the_pipeline_recovers_from_a_lack_of_memory(monkeypatch):
    monkeypatch.setattr(batch_size, "_MAX_ON_CPU", 7)
    config = load_config(fps="native", detection="every")
    with open_video(SAMPLES / "one_face.mp4") as video:
        results, samples = [], [(frame, frame.pts_s, 0.04) for frame in islice(video.frames(), 30)]
        for most in (2, 100):
            detector = _Scarce(most)
            pipeline = DevicePipeline("cpu", detector)  # type: ignore[arg-type]
            models = Models(detector, FakeClassifier(), "cpu", on_device=pipeline)
            results.append(list(find_faces(iter(samples), video.info, config, models)))
            assert (detector.failed > 0) == (most == 2)
    short, long = (np.concatenate([batch.sampled_s for batch in batches]) for batches in results)
    np.testing.assert_array_equal(short, long)
    assert detector.failed == 0
    assert max(len(batch.sampled_s) for batch in results[0]) <= 2


def test_a_lack_of_memory_while_copying_halves_the_batch_too(monkeypatch):
    pipeline = DevicePipeline("cpu", _Scarce(100))  # type: ignore[arg-type]
    stack = pipeline._stack

    def scarce(arrays: Sequence) -> torch.Tensor:
        if len(arrays) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return stack(arrays)

    monkeypatch.setattr(pipeline, "_stack", scarce)
    with open_video(SAMPLES / "one_face.mp4") as video:
        samples = [(frame, frame.pts_s, 0.04) for frame in islice(video.frames(), 20)]
        staged = list(pipeline.upload(samples, video.info, lambda frame_px: (64, 36)))
    assert np.concatenate([batch.pts_s for batch in staged]).tolist() == [pts_s for _, pts_s, _ in samples]
    assert [len(batch) for batch in staged[2:]] == [2] * (len(staged) - 3) + [len(staged[-1])]


class _TooLarge:
    """A frame of NVDEC for whose image there is no memory."""

    pts_s, duration_s, size_px = 0.0, 0.04, (640, 360)

    def rgb(self, width_px: int, height_px: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_frame_that_does_not_fit_on_the_device_is_reported():
    pipeline = DevicePipeline("cpu", _Scarce(100))  # type: ignore[arg-type]
    error = pytest.raises(VideoError, match=r"one_face.mp4: a frame of 640x360 does not fit")
    with open_video(SAMPLES / "one_face.mp4") as video, error:
        list(pipeline.upload([(_TooLarge(), 0.0, 0.04)], video.info, lambda frame_px: (64, 36)))  # type: ignore[list-item]


# -- the whole pipeline -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["one_face.mp4", "two_faces.mp4", "cut_to_nobody.mp4"])
def test_the_timeline_is_that_of_the_cpu(models, name):
    config = load_config(device="cpu", fps=2, end_s=3.0, detection="every", precision="fp32")
    expected = process_video(SAMPLES / name, None, config, models)
    found = process_video(SAMPLES / name, None, config, replace(models, on_device=DevicePipeline("cpu")))
    off = differences(expected.to_pandas(), found.to_pandas())
    assert off["rows_that_differ"] == 0
    assert off["other_dominant"] == 0
    assert off["prob"] < 0.005
    assert off["box"] < 1e-4
    assert found.provenance["counters"] == expected.provenance["counters"]
    assert found.provenance["searched"] == expected.provenance["searched"] == "every"


class _Upright:
    """An embedder that only describes its crops."""

    name, sha256, recognition_px, threshold = "square_boxes", "", 96, 0.5

    def places(self, box_px: np.ndarray, landmarks_px: np.ndarray) -> np.ndarray:
        return square_boxes(box_px)

    def embed(self, recognition_crop: np.ndarray) -> np.ndarray:
        raise AssertionError("not called in this test")


class _Grey(FakeClassifier):
    """A classifier that only describes its crops."""

    crop_px = 48


class _Colour(FakeClassifier):
    """The same in colour."""

    crop_px, channels, alignment = 80, 3, AFFINE


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("detection_px", [640, 320])
def test_crops_and_thumbnails_are_those_of_the_cpu(models, colour, detection_px):
    config = load_config(device="cpu", fps=2, end_s=1.5, detection="every", persons="square_boxes")
    config = replace(config, detection_size_px=detection_px)
    with_embedder = replace(models, embedder=_Upright(), classifier=_Colour() if colour else _Grey())
    results = []
    for one in (with_embedder, replace(with_embedder, on_device=DevicePipeline("cpu"))):
        with open_video(SAMPLES / "two_faces.mp4") as video:
            samples = sample_frames(video.frames(0, 1.5), 2)
            results.append(concatenate(list(find_faces(samples, video.info, config, one))))
    expected, found = results
    assert len(expected) == len(found) == 6 and expected.recognition_crop.shape == (6, 96, 96)
    side, channels = (80, 3) if colour else (48, 1)
    assert expected.crop.shape == (6, side, side, channels)
    for name in ("crop", "recognition_crop"):
        assert _apart(getattr(expected, name), getattr(found, name)).max() <= 2 + colour
    np.testing.assert_array_equal(expected.thumb, found.thumb, strict=True)


def test_every_sample_is_searched_under_any_configuration(models):
    config = load_config(device="cpu", fps=2, end_s=1.0)
    found = process_video(SAMPLES / "one_face.mp4", None, config, replace(models, on_device=DevicePipeline("cpu")))
    assert found.provenance["config"]["detection"] == "adaptive"
    assert found.provenance["searched"] == "every"


def test_the_resolution_may_change(tmp_path):
    path, detector = two_sizes(tmp_path / "two_sizes.mkv"), _Scarce(100)
    config = load_config(fps="native", detection="every")
    expected = process_video(path, None, config, Models(FakeDetector(), FakeClassifier(), "cpu"))
    models = Models(detector, FakeClassifier(), "cpu", on_device=DevicePipeline("cpu", detector))  # type: ignore[arg-type]
    found = process_video(path, None, config, models)
    assert found.table.num_rows == expected.table.num_rows
    assert found.provenance["counters"] == expected.provenance["counters"]


def test_a_graph_has_one_shape():
    graph = CUDAGraphModule(lambda x: x + 1, torch.zeros(2, 3))
    assert (graph(torch.ones(2, 3)) == 2).all()
    with pytest.raises(ValueError, match=r"expected \(2, 3\), found \(1, 3\)"):
        graph(torch.ones(1, 3))
