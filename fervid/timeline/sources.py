"""Check that a video and a file of face readings belong to a timeline, and read the face readings."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fervid.errors import DataError
from fervid.files import check_file, content_hash
from fervid.timeline.read import Timeline, read_provenance

__all__ = ["check_faces", "check_video", "read_faces"]

_REQUIRED = ("pts_s", "track", "x", "y", "w", "h")


def check_video(timeline: Timeline, video: Path, *, force: bool = False) -> str:
    """Check that a video is the one that a timeline was made from, whatever its name.

    Parameters
    ----------
    timeline : Timeline
    video : Path
    force : bool
        Accept another video.

    Returns
    -------
    str
        Empty if it is the same video; with `force`, a sentence on how it differs.

    Raises
    ------
    DataError
        If it is another video, without `force`.
    VideoError
        If the file does not exist, is empty or is not a regular file.
    """
    size, expected_size = check_file(video).stat().st_size, timeline.source.get("bytes", -1)
    if size != expected_size:  # spares hashing a large file
        difference = f"{size} bytes, expected {expected_size}"
    else:
        found, expected = content_hash(video), str(timeline.source.get("sha256") or "none")
        if found == expected:
            return ""
        difference = f"sha256 {found[:12]}, expected {expected[:12]}"
    if force:
        return f"The video {video.name} is not the file that the timeline was made from ({difference})."
    raise DataError(
        f"{video}: is not the video that {timeline.path} was made from ({timeline.video}; {difference}); "
        "give that video, or rerun with --force"
    )


def check_faces(timeline: Timeline, faces: Path, *, force: bool = False) -> str:
    """Check that face readings and a timeline were made from the same video.

    Parameters
    ----------
    timeline : Timeline
    faces : Path
        A file of face readings.
    force : bool
        Accept the readings of another video.

    Returns
    -------
    str
        Empty if they match; with `force`, a sentence on the difference.

    Raises
    ------
    DataError
        If they are of another video, without `force`, or if the file was not written by fervid.
    """
    source = read_provenance(faces).get("source", {})
    if source.get("sha256") == timeline.source.get("sha256"):
        return ""
    if force:
        return f"The face boxes ({faces.name}) were read from another file than the timeline."
    raise DataError(
        f"{faces}: these are face readings of another video ({source.get('name')}) than that of {timeline.path} "
        f"({timeline.video}); give the file that was written together with the timeline"
    )


def read_faces(path: Path, columns: Iterable[str]) -> pa.Table:
    """Read columns of a file of face readings.

    Parameters
    ----------
    path : Path
        The file that `fervid process --faces` wrote.
    columns : iterable of str
        The columns to read besides time, track and box; those that the file lacks are skipped.

    Returns
    -------
    pa.Table
        One row per face and sampled frame, in the order of the file.

    Raises
    ------
    DataError
        If `path` is a folder, a file of another kind, or damaged.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the file that fervid process --faces wrote")
    read_provenance(path)
    try:
        names = pq.read_schema(path).names
        if not set(_REQUIRED) <= set(names):
            raise DataError(f"{path}: not a file of face readings; fervid process --faces {path.name} writes one")
        return pq.read_table(path, columns=[*_REQUIRED, *(c for c in columns if c in names)]).combine_chunks()
    except pa.ArrowException as e:
        raise DataError(f"{path}: cannot be read ({e}); run fervid process --faces again") from None
