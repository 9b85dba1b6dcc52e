"""The line from frames to faces with all pixels on one device, for a GPU.

    looks -> stage (picture and luma on the device) -> search every look -> cut out -> FaceBatch

The two stages replace video.sampling.batch_frames and faces.detect.detect, agree with them within the tolerances of
tests/cuda/test_cuda_line.py, and run on a CPU too, where they are slower. Every look is searched: "adaptive" detection
saves arithmetic, which is not what is scarce here.
"""

import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fervid.cuda.batch_size import max_batch_size, retry_smaller
from fervid.cuda.crops import cut_faces, thumbnails_of
from fervid.cuda.mtcnn import DeviceMTCNN
from fervid.faces.crop import FaceAlignment
from fervid.faces.detect import RecognitionCrops, to_face_batch
from fervid.runtime.device import bind_thread, is_out_of_memory, wrap_out_of_memory
from fervid.runtime.profiling import stage
from fervid.types import FaceBatch, VideoInfo
from fervid.video.reader import Frame
from fervid.video.sampling import SampledFrame

__all__ = ["DeviceLine", "Staged"]


@dataclass(frozen=True)
class _Pixels:
    """One look off its frame: picture (h, w, 3), luma (H, W), both uint8, in NumPy or on the device already."""

    pts_s: float
    duration_s: float
    image: np.ndarray | Tensor
    luma: np.ndarray | Tensor
    limited: bool

    def fits(self, other: "_Pixels") -> bool:
        """Whether the two can lie in one batch; they cannot where the resolution changes."""
        return self.luma.shape == other.luma.shape and self.limited == other.limited


@dataclass(frozen=True)
class Staged:
    """n looks on the device: picture (n, h, w, 3), luma (n, H, W), uint8; `ready` once their copies have arrived."""

    pts_s: np.ndarray
    duration_s: np.ndarray
    image: Tensor
    luma: Tensor
    limited: bool
    ready: "torch.cuda.Event | None" = None

    def __len__(self) -> int:
        return len(self.pts_s)

    @property
    def thumb(self) -> np.ndarray:
        """What is left of each picture, as in FrameBatch."""
        return thumbnails_of(self.image)

    def __getitem__(self, part: slice) -> "Staged":
        names = ("pts_s", "duration_s", "image", "luma")
        return replace(self, **{name: getattr(self, name)[part] for name in names})


class DeviceLine:
    """Both stages on one device; one video at a time."""

    def __init__(self, device: str, detector: DeviceMTCNN | None = None) -> None:
        """Load the detector, unless it is given."""
        self.device = torch.device(device)
        with wrap_out_of_memory(device):
            self.detector = detector or DeviceMTCNN(device)
        self._copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._searching = threading.Lock()
        self.most = 0

    def stage(self, looks: Iterable[SampledFrame], video: VideoInfo, size_px: tuple[int, int]) -> Generator[Staged]:
        """Convert the chosen frames to pictures of size_px (width, height) and luma, and bring them to the device."""
        bind_thread(self.device)  # each stage has a thread of its own
        self.most = max_batch_size(self.device, size_px[0] * size_px[1], video.width_px * video.height_px)
        waiting: list[_Pixels] = []
        before = None

        def convert(one: Sequence[Frame]) -> tuple:
            return (one[0].rgb(*size_px), *one[0].stored_luma())

        for frame, pts_s, duration_s in looks:
            if frame is not before:
                with stage("scale"):  # NVDEC's frames are converted on the device, where room for one may be missing
                    before, pixels = frame, retry_smaller([frame], convert, self._lower, _named(video))[0]
            look = _Pixels(pts_s, duration_s, *pixels)
            if waiting and (len(waiting) >= self.most or not look.fits(waiting[0])):
                yield from self._sent(waiting, video)
                waiting = []
            waiting.append(look)
        if waiting:
            yield from self._sent(waiting, video)

    def find(
        self,
        batches: Iterable[Staged],
        video: VideoInfo,
        *,
        alignment: FaceAlignment,
        crop_px: int,
        min_face_px: float,
        recognition: RecognitionCrops | None = None,
    ) -> Generator[FaceBatch]:
        """Search every look and cut the faces out; the arguments are those of faces.detect."""
        bind_thread(self.device)
        task = partial(self._look, video=video, alignment=alignment, crop_px=crop_px, recognition=recognition)
        look = partial(task, min_face_px=min_face_px)
        for batch in batches:
            yield from retry_smaller(batch, look, self._lower, _named(video))

    def _lower(self, most: int) -> None:
        self.most = most

    # -- to the device ---------------------------------------------------------------------------------------------

    def _sent(self, looks: list[_Pixels], video: VideoInfo) -> list[Staged]:
        with stage("upload"):
            return retry_smaller(looks, self._send, self._lower, _named(video))

    def _send(self, looks: list[_Pixels]) -> Staged:
        """Copy the looks there; where memory is short, after the search that has it just now."""
        try:
            return self._copied(looks)
        except RuntimeError as e:
            if not is_out_of_memory(e):
                raise
        with self._searching:
            return self._copied(looks)

    def _copied(self, looks: list[_Pixels]) -> Staged:
        picture, luma = self._together([one.image for one in looks]), self._together([one.luma for one in looks])
        ready = None
        if self._copies is not None:
            ready = torch.cuda.Event()
            ready.record(self._copies)
        pts_s, duration_s = (np.array([getattr(one, name) for one in looks]) for name in ("pts_s", "duration_s"))
        return Staged(pts_s, duration_s, picture, luma, looks[0].limited, ready)

    def _together(self, arrays: Sequence[np.ndarray | Tensor]) -> Tensor:
        """Stack n arrays on the device: from page-locked memory on a stream of its own, beside what is computed there.

        torch keeps page-locked memory until the copies from it are done, and hands it out again.
        """
        if isinstance(arrays[0], Tensor):
            return torch.stack([one for one in arrays if isinstance(one, Tensor)])
        pinned = torch.empty((len(arrays), *arrays[0].shape), dtype=torch.uint8, pin_memory=self._copies is not None)
        np.stack([np.asarray(one) for one in arrays], out=pinned.numpy())
        if self._copies is None:
            return pinned
        with torch.cuda.stream(self._copies):
            return pinned.to(self.device, non_blocking=True)

    # -- on the device ---------------------------------------------------------------------------------------------

    def _look(
        self,
        batch: Staged,
        *,
        video: VideoInfo,
        alignment: FaceAlignment,
        crop_px: int,
        recognition: RecognitionCrops | None,
        min_face_px: float,
    ) -> FaceBatch:
        with self._searching:
            self._wait_for(batch)
            with stage("detect"):
                found = self.detector.detect(batch.image, min_face_px / video.width_px * batch.image.shape[2])
            stored = batch.luma.shape[2] / video.width_px, batch.luma.shape[1] / video.height_px
            cut = partial(cut_faces, batch.luma, found.frame, stretch=stored, limited=batch.limited)
            return to_face_batch(
                batch, found, video, cut, alignment=alignment, crop_px=crop_px, recognition=recognition
            )

    def _wait_for(self, batch: Staged) -> None:
        """Let this thread's stream wait for the copies, and keep their memory until this stream is done with it."""
        if batch.ready is None:
            return
        here = torch.cuda.current_stream(self.device)
        here.wait_event(batch.ready)
        for tensor in (batch.image, batch.luma):
            tensor.record_stream(here)


def _named(video: VideoInfo) -> str:
    return f"{video.path}: a frame of {video.width_px}x{video.height_px}"
