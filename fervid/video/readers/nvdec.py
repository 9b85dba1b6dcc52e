"""The default reader with the GPU's own decoder (NVDEC): PyAV's times and checks; the frames stay on the GPU.

FFmpeg gives the pixels in CUDA memory, as NV12 or P010; DLPack turns them into tensors without a copy over the bus.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.codec.hwaccel import HWAccel
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange
from torch import Tensor

from fervid.errors import DeviceError, MissingDependency
from fervid.video.geometry import UPRIGHT
from fervid.video.reader import NotOnGPU
from fervid.video.readers.containers import open_container
from fervid.video.readers.frame_geometry import geometry_of
from fervid.video.readers.pyav import PyAVReader
from fervid.video.readers.tensor_frame import full_range_of, luma_weights, yuv_to_rgb
from fervid.video.readers.timestamps import StampedFrame
from fervid.video.tone_mapping import TRANSFERS

__all__ = ["Nv12Frame", "NvdecReader"]

_FFMPEG_8 = (60, 0, 0)
_LAYOUTS = ("nv12", "p010le", "p016le")


class Nv12Frame:
    """A decoded frame of NV12 or P010 in any memory. It is a copy of the decoder's own, so it may be kept.

    Parameters
    ----------
    frame : av.VideoFrame
    pts_s, duration_s : float
        Seconds.
    """

    def __init__(self, frame: av.VideoFrame, pts_s: float, duration_s: float) -> None:
        self.pts_s, self.duration_s = pts_s, duration_s
        self._frame = frame
        self.geometry = geometry_of(frame)
        self.size_px = self.geometry.displayed(frame.width, frame.height)
        self._limited = frame.color_range != ColorRange.JPEG

    def rgb(self, width_px: int, height_px: int) -> Tensor:
        """Convert the displayed frame to RGB (height_px, width_px, 3) uint8, resized by area."""
        orientation = self.geometry.orientation
        size_px = (height_px, width_px) if orientation.swaps_sides else (width_px, height_px)
        luma, chroma = self._plane(0), self._plane(1)
        rgb = yuv_to_rgb(luma, chroma, size_px, luma_weights(int(self._frame.colorspace)), limited=self._limited)
        return orientation.apply_tensor(rgb).contiguous()

    def luma(self) -> np.ndarray:
        """Copy the luma (H, W) uint8, stretched to 0..255, to the CPU as an array."""
        luma, limited = self.stored_luma()
        full = full_range_of(luma.float()).to(torch.uint8) if limited else luma
        return full.cpu().numpy()

    def stored_luma(self) -> tuple[Tensor, bool]:
        """Copy the luma plane (H, W), and report whether its range is limited."""
        luma = self._plane(0)
        orientation = self.geometry.orientation
        return (luma.clone() if orientation == UPRIGHT else orientation.apply_tensor(luma)), self._limited

    def luma_preview(self) -> None:
        """Return None: a preview would have to be copied from the GPU."""
        return

    def _plane(self, number: int) -> Tensor:
        """View a plane; of more than eight bits, the upper eight.

        DLPack's capsule is passed, not the plane: torch would request that the plane be ordered by torch's stream,
        which PyAV rejects. Both work on the default stream of one context, which keeps the order.
        """
        plane: Any = self._frame.planes[number]
        pixels = torch.utils.dlpack.from_dlpack(plane.__dlpack__())
        return pixels if pixels.dtype == torch.uint8 else (pixels.to(torch.int32) >> 8).to(torch.uint8)


class NvdecReader(PyAVReader):
    """A Reader that decodes on a GPU.

    Damage within a frame is not detected there: a file in which PyAV detects any is left to the CPU.

    Parameters
    ----------
    path : Path
    device : str
        "cuda:i".
    stream : int or None
        The index of the video stream.
    max_pixels : int
        The largest frame.
    careful, synthetic_time : bool
        See fervid.video.open.open_video.
    **clock : object
        repair_time, decoding_time and rate, as for PyAVReader.
    rotate : str, optional
        As for PyAVReader.

    Raises
    ------
    NotOnGPU
        For what the GPU's decoder does not support, and for damaged files.
    MissingDependency, DeviceError
        If this installation, or this GPU, cannot decode at all.
    """

    def __init__(
        self,
        path: Path,
        device: str,
        *,
        stream: int | None,
        max_pixels: int,
        careful: bool,
        synthetic_time: bool,
        rotate: str | None = None,
        **clock: Any,
    ) -> None:
        if careful:
            raise NotOnGPU(path, "decoding it met errors: it is damaged, or the GPU's memory is full")
        self._device = torch.device(device)
        options: dict[str, Any] = {"stream": stream, "max_pixels": max_pixels, "rotate": rotate, **clock}
        super().__init__(path, careful=False, synthetic_time=synthetic_time, **options)
        self.health.decoder = "nvdec"

    def _open(self) -> Any:
        """Open the file with a decoder in the CUDA context of torch.

        FFmpeg would create that context with other flags than torch did, and fail (PyAV's pull request 2339). It uses
        the current context instead, after torch has made its own current. Versions of FFmpeg before 8 destroy a
        context that they only borrowed (hwcontext_cuda.c, cuda_device_uninit).
        """
        if av.library_versions["libavutil"] < _FFMPEG_8 or not hasattr(VideoPlane, "__dlpack__"):
            raise MissingDependency("--reader nvdec needs PyAV 17 or later, with FFmpeg 8: pip install 'av>=17'")
        index = self._device.index or 0
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            accelerated = HWAccel(
                "cuda",
                index,
                allow_software_fallback=True,
                is_hw_owned=True,
                options={"primary_ctx": "0", "current_ctx": "1"},
            )
            try:
                accelerated.create(av.Codec("h264", "r"))
            except (av.FFmpegError, NotImplementedError) as e:
                raise DeviceError(
                    f"--reader nvdec: FFmpeg cannot decode on cuda:{index} ({e}); use --reader av"
                ) from None
            return open_container(self._path, self._max_pixels, accelerated)

    def _prepare(self) -> None:
        """Set up the decoder on one thread: the GPU does the parallel work.

        extra_hw_frames stays unset: FFmpeg 8 gives copies of its surfaces (AV_HWACCEL_FLAG_UNSAFE_OUTPUT is off), so
        that keeping frames takes none from the decoder; and with more than 32 surfaces, which H.264 without a VUI comes
        close to by itself, NVDEC may reject a video that it can decode.
        """
        super()._prepare()
        self._stream.codec_context.thread_count = 1

    def _head(self, frames: Iterator[StampedFrame]) -> list[StampedFrame]:
        """Check on the first frames that the GPU has decoded them: FFmpeg falls back to the CPU by itself."""
        head = super()._head(frames)
        last: Any = head[-1][0]
        if not all(_on_gpu(frame) for frame, _ in head):
            codec, layout = self._stream.codec_context.name, (last.sw_format or last.format).name
            raise NotOnGPU(self._path, f"{codec} in {layout}, unless libnvcuvid.so.1 or memory on the GPU is missing")
        return head

    def _wrap(self, frame: av.VideoFrame, pts_s: float, duration_s: float) -> Nv12Frame:
        if frame.color_trc in TRANSFERS:
            raise NotOnGPU(self._path, "high dynamic range")
        if not _on_gpu(frame):
            raise NotOnGPU(self._path, f"at {pts_s:.1f} s it changes to {(frame.sw_format or frame.format).name}")
        return Nv12Frame(frame, pts_s, duration_s)


def _on_gpu(frame: Any) -> bool:
    return frame.format.name == "cuda" and frame.sw_format is not None and frame.sw_format.name in _LAYOUTS
