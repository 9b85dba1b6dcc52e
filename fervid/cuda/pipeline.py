"""The pipeline from sampled frames to faces with all pixels on one device, for a GPU.

    samples -> upload (image and luma to the device) -> detect in every image -> cut out -> FaceBatch

The two stages replace video.sampling.batch_frames and faces.detect.detect and agree with them within the tolerances of
tests/cuda/test_cuda_pipeline.py. They run on a CPU too, but more slowly. Every sample is searched: adaptive detection
saves arithmetic, which is not scarce here.
"""

import math
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fervid.cuda.batch_size import max_batch_size, retry_smaller
from fervid.cuda.crops import cut_faces, thumbnails_of
from fervid.cuda.mtcnn import DeviceMTCNN
from fervid.faces.crop import FaceAlignment
from fervid.faces.detect import MinFace, RecognitionCrops, to_face_batch
from fervid.runtime.device import bind_thread, is_out_of_memory, wrap_out_of_memory
from fervid.runtime.profiling import stage
from fervid.types import FaceBatch, VideoInfo
from fervid.video.reader import Frame
from fervid.video.sampling import DetectionSize, SampledFrame

__all__ = ["DeviceBatch", "DevicePipeline"]


@dataclass(frozen=True)
class _Sample:
    """The pixels of one sample: image (h, w, 3), luma (H, W), both uint8, in NumPy or on the device already."""

    pts_s: float
    duration_s: float
    image: np.ndarray | Tensor
    luma: np.ndarray | Tensor
    limited: bool
    size_px: tuple[int, int]

    def fits(self, other: "_Sample") -> bool:
        """Whether the two can be in one batch; they cannot where the geometry changes."""
        same_size = self.luma.shape == other.luma.shape and self.size_px == other.size_px
        return same_size and self.limited == other.limited


@dataclass(frozen=True)
class DeviceBatch:
    """n samples on the device, with the meaning of the columns of FrameBatch.

    Parameters
    ----------
    pts_s, duration_s : ndarray, shape (n,), float64
    image : Tensor, shape (n, h, w, 3), uint8
    luma : Tensor, shape (n, H, W), uint8
    limited : bool
    size_px : tuple of int
        Width and height at which all of them are displayed.
    ready : torch.cuda.Event, optional
        Marks the end of the copies to the device.
    """

    pts_s: np.ndarray
    duration_s: np.ndarray
    image: Tensor
    luma: Tensor
    limited: bool
    size_px: tuple[int, int]
    ready: "torch.cuda.Event | None" = None

    def __len__(self) -> int:
        return len(self.pts_s)

    @property
    def thumb(self) -> np.ndarray:
        """Thumbnails (n, 18, 32, 3) uint8, as in FrameBatch."""
        return thumbnails_of(self.image)

    def __getitem__(self, part: slice) -> "DeviceBatch":
        names = ("pts_s", "duration_s", "image", "luma")
        return replace(self, **{name: getattr(self, name)[part] for name in names})


class DevicePipeline:
    """Both stages on one device; one video at a time.

    Parameters
    ----------
    device : str
    detector : DeviceMTCNN, optional
        Loaded by default.

    Attributes
    ----------
    batch_size : int
        Samples per batch, which falls where memory does not suffice.

    Raises
    ------
    DeviceError
        If the memory of the device is too small for the networks.
    MissingDependency
        If the weights of the detector are not installed.
    """

    def __init__(self, device: str, detector: DeviceMTCNN | None = None) -> None:
        self.device = torch.device(device)
        with wrap_out_of_memory(device):
            self.detector = detector or DeviceMTCNN(device)
        self._copy_stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._lock = threading.Lock()
        self.batch_size = 0

    def upload(self, samples: Iterable[SampledFrame], video: VideoInfo, size: DetectionSize) -> Generator[DeviceBatch]:
        """Convert sampled frames to images and luma planes and copy them to the device, in batches.

        Parameters
        ----------
        samples : Iterable[SampledFrame]
        video : VideoInfo
        size : callable
            Returns the size of the image in which faces are detected, from that of the displayed frame.

        Yields
        ------
        DeviceBatch
            The copies may still be under way.

        Raises
        ------
        VideoError
            If the memory of the device does not suffice for one sample.
        """
        bind_thread(self.device)  # each stage has its own thread
        waiting: list[_Sample] = []
        previous, frame_px = None, (0, 0)

        def convert(one: Sequence[Frame]) -> tuple:
            return (one[0].rgb(*size(frame_px)), *one[0].stored_luma())

        for frame, pts_s, duration_s in samples:
            if frame.size_px != frame_px:
                frame_px = frame.size_px
                self.batch_size = max_batch_size(self.device, math.prod(size(frame_px)), math.prod(frame_px))
            if frame is not previous:
                with stage("scale"):  # frames of NVDEC are converted on the device, where memory may not suffice
                    previous, pixels = frame, retry_smaller([frame], convert, self._set_batch_size, _describe(video))[0]
            image, luma, limited = pixels
            sample = _Sample(pts_s, duration_s, image, luma, limited, frame_px)
            if waiting and (len(waiting) >= self.batch_size or not sample.fits(waiting[0])):
                yield from self._upload(waiting, video)
                waiting = []
            waiting.append(sample)
        if waiting:
            yield from self._upload(waiting, video)

    def detect(
        self,
        batches: Iterable[DeviceBatch],
        video: VideoInfo,
        *,
        alignment: FaceAlignment,
        crop_px: int,
        channels: int = 1,
        min_face: MinFace,
        recognition: RecognitionCrops | None = None,
    ) -> Generator[FaceBatch]:
        """Search every sample and cut the faces out.

        Parameters
        ----------
        batches : Iterable[DeviceBatch]
        video : VideoInfo
        alignment, crop_px, channels, min_face, recognition
            As for faces.detect.detect.

        Yields
        ------
        FaceBatch

        Raises
        ------
        VideoError
            If the memory of the device does not suffice for one sample.
        """
        bind_thread(self.device)
        crops: dict[str, Any] = {"alignment": alignment, "crop_px": crop_px, "channels": channels}
        crops |= {"recognition": recognition}
        work = partial(self._detect, min_face=min_face, crops=crops)
        for batch in batches:
            yield from retry_smaller(batch, work, self._set_batch_size, _describe(video))

    def _set_batch_size(self, n: int) -> None:
        self.batch_size = n

    # -- to the device ---------------------------------------------------------------------------------------------

    def _upload(self, samples: list[_Sample], video: VideoInfo) -> list[DeviceBatch]:
        with stage("upload"):
            return retry_smaller(samples, self._copy, self._set_batch_size, _describe(video))

    def _copy(self, samples: list[_Sample]) -> DeviceBatch:
        """Copy samples to the device; if memory does not suffice, once more after the search that runs just now."""
        try:
            return self._to_batch(samples)
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
        with self._lock:
            return self._to_batch(samples)

    def _to_batch(self, samples: list[_Sample]) -> DeviceBatch:
        image, luma = self._stack([one.image for one in samples]), self._stack([one.luma for one in samples])
        ready = None
        if self._copy_stream is not None:
            ready = torch.cuda.Event()
            ready.record(self._copy_stream)
        pts_s, duration_s = (np.array([getattr(one, name) for one in samples]) for name in ("pts_s", "duration_s"))
        return DeviceBatch(pts_s, duration_s, image, luma, samples[0].limited, samples[0].size_px, ready)

    def _stack(self, arrays: Sequence[np.ndarray | Tensor]) -> Tensor:
        """Stack n arrays on the device: from page-locked memory, on a stream of its own, beside the computations there.

        torch keeps page-locked memory until the copies from it are done, and reuses it afterwards.
        """
        if isinstance(arrays[0], Tensor):
            return torch.stack([one for one in arrays if isinstance(one, Tensor)])
        pinned = torch.empty(
            (len(arrays), *arrays[0].shape), dtype=torch.uint8, pin_memory=self._copy_stream is not None
        )
        np.stack([np.asarray(one) for one in arrays], out=pinned.numpy())
        if self._copy_stream is None:
            return pinned
        with torch.cuda.stream(self._copy_stream):
            return pinned.to(self.device, non_blocking=True)

    # -- on the device ---------------------------------------------------------------------------------------------

    def _detect(
        self,
        batch: DeviceBatch,
        *,
        min_face: MinFace,
        crops: dict[str, Any],
    ) -> FaceBatch:
        with self._lock:
            self._wait_for(batch)
            with stage("detect"):
                found = self.detector.detect(batch.image, min_face(batch.size_px) * batch.image.shape[2])
            stored = batch.luma.shape[2] / batch.size_px[0], batch.luma.shape[1] / batch.size_px[1]

            def cut(place: np.ndarray, side_px: int, channels: int, *, detail: bool = True) -> np.ndarray:
                if not detail:
                    return _cut_colours(batch, found.frame, place, side_px)
                image = batch.image if channels == 3 else None
                where = found.frame, place, side_px
                return cut_faces(batch.luma, *where, stretch=stored, limited=batch.limited, image=image)

            return to_face_batch(batch, found, cut, **crops)

    def _wait_for(self, batch: DeviceBatch) -> None:
        """Make the stream of this thread wait for the copies, and keep their memory until the stream has used it."""
        if batch.ready is None:
            return
        current = torch.cuda.current_stream(self.device)
        current.wait_event(batch.ready)
        for tensor in (batch.image, batch.luma):
            tensor.record_stream(current)


def _cut_colours(batch: DeviceBatch, frame: np.ndarray, place: np.ndarray, side_px: int) -> np.ndarray:
    """Cut crops (m, side_px, side_px, 3) out of the small images, whose channels are cut like luma planes."""
    n, height, width, _ = batch.image.shape
    planes = batch.image.permute(0, 3, 1, 2).reshape(3 * n, height, width)
    plane = (3 * frame[:, None] + np.arange(3)).ravel()
    stretch = width / batch.size_px[0], height / batch.size_px[1]
    crop = cut_faces(planes, plane, place.repeat(3, 0), side_px, stretch=stretch)
    return np.ascontiguousarray(crop.reshape(-1, 3, side_px, side_px).transpose(0, 2, 3, 1))


def _describe(video: VideoInfo) -> str:
    return f"{video.path}: a frame of {video.width_px}x{video.height_px}"
