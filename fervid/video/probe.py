"""What is in a video file, and what the line would do with it."""

from pathlib import Path
from typing import Any

from fervid.config import Config
from fervid.video.open import read_video
from fervid.video.sampling import detection_size

__all__ = ["describe_video"]


def describe_video(path: Path, config: Config) -> dict[str, Any]:
    """Tell what a video file holds and what the line would do with it, decoding one frame only."""
    video, options = read_video(path, config, lambda reader: reader.info)
    notes = [note for name, note in _NOTES.items() if options[name]]
    picture_px, min_face_px = config.detection_scale(video.width_px, video.height_px)
    return {
        "file": {
            "path": str(path), "container": video.container, "codec": video.codec, "stream": video.stream,
            "displayed": f"{video.width_px}x{video.height_px}", "rotation_deg": video.rotation_deg,
            "frame_rate": f"{float(video.frame_rate):.5g}" if video.frame_rate else None,
            "duration_s": video.duration_s, "start_s": video.start_s,
        },
        "plan": {
            "reader": config.reader, "looks_per_second": config.fps or "every frame",
            "detection_picture": "x".join(map(str, detection_size(video, picture_px))),
            "smallest_face_px": round(min_face_px, 1), "detector": config.detector, "weights": config.weights,
        },
        "notes": notes or ["the first frame is fine; damage further on shows when the video is processed"],
    }  # fmt: skip


_NOTES = {
    "careful": "damaged at the start: decoded on one thread, damage left out, the result degraded",
    "synthetic_time": "no usable timestamps: frames are counted at the declared rate, the result degraded",
}
