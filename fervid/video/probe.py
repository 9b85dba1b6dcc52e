"""What a video file contains, and what the pipeline would do with it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fervid.clock import FileClock
from fervid.config import Config
from fervid.video.open import read_video
from fervid.video.sampling import detection_size

__all__ = ["describe_video"]

_NOTES = {
    "repair_time": "frames without timestamps of their own: their times are interpolated",
    "decoding_time": "timestamps out of order: times are those of decoding",
    "careful": "damaged at the start: decoded on one thread, damaged frames left out, the result degraded",
    "synthetic_time": "no usable timestamps: frames counted at the declared rate, the result degraded; state the rate "
    "with --rate N",
}


def describe_video(path: Path, config: Config) -> dict[str, Any]:
    """Describe a video file and how the pipeline would process it, decoding a single frame.

    Parameters
    ----------
    path : Path
    config : Config

    Returns
    -------
    dict
        "file": what the file contains. "plan": what follows for it from the options. "options": the
        fields of `config`. "notes": whether the first frame is damaged.

    Raises
    ------
    VideoError
        If the file is not a video, or not one frame of it can be decoded.
    ConfigError
        If the options do not fit the video.
    """
    video, restarts = read_video(path, config, lambda reader: reader.info)
    size_px = (video.width_px, video.height_px)
    config.check_min_face(*size_px)
    longer_side_px, min_face_px = config.detection_scale(*size_px)
    ends_at = None if video.duration_s is None else FileClock(video.origin_s).to_file(video.duration_s)
    notes = [note for name, note in _NOTES.items() if restarts[name]]
    return {
        "file": {
            "path": str(path),
            "container": video.container,
            "codec": video.codec,
            "stream": video.stream,
            "displayed": f"{video.width_px}x{video.height_px}",
            "rotation_deg": video.rotation_deg,
            "mirrored": video.mirrored,
            "hdr": video.hdr or None,
            "frame_rate": f"{float(video.frame_rate):.5g}" if video.frame_rate else None,
            "duration_s": video.duration_s,
            "start_s": video.start_s,
            "origin_s": video.origin_s,
        },
        "plan": {
            "sampled_frames_per_second": config.fps or "every frame",
            "detection_size": "x".join(map(str, detection_size(size_px, longer_side_px))),
            "smallest_face_px": round(min_face_px, 1),
            "from_s": config.start_s,
            "to_s": min((end for end in (config.end_s, ends_at) if end is not None), default=None),
        },
        "options": asdict(config),
        "notes": notes or ["the first frame is undamaged; damage further on shows when the video is processed"],
    }
