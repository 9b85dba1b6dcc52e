"""Make the sample clips: public-domain portraits moving over a drifting background, and a scene with nobody.

Run `python sample_videos/make.py [FOLDER]` with PyAV, Pillow, NumPy, scikit-image and matplotlib installed
(`pip install -e ".[test]"`). README.md beside this file tells what each clip shows, and its sources.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import cos, pi, radians, sin
from pathlib import Path

import av
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageFilter
from skimage import data

WIDTH_PX, HEIGHT_PX, FPS = 640, 360, 30
SUPERSAMPLE = 2
"""Layers are warped at this multiple of the frame and averaged down, so that nothing aliases."""

Box = tuple[int, int, int, int]
Scene = Callable[[float], Image.Image]


@dataclass(frozen=True)
class Cutout:
    """A head and shoulders with a soft edge (RGBA), and where its face lies in it."""

    image: Image.Image
    face_x_px: float
    face_y_px: float
    face_height_px: float


@dataclass(frozen=True)
class Pose:
    """Where a face is in the frame: its centre and height in pixels, and its tilt (clockwise)."""

    x_px: float
    y_px: float
    height_px: float
    tilt_deg: float = 0.0


def cut_out(photo: Image.Image, ellipses: list[Box], feather_px: int) -> Image.Image:
    """Keep the union of the ellipses (xyxy), its edge faded; `feather_px` is an even number."""
    mask = Image.new("L", photo.size, 0)
    draw = ImageDraw.Draw(mask)
    for ellipse in ellipses:
        draw.ellipse(ellipse, fill=255)
    inset = mask.filter(ImageFilter.MinFilter(feather_px + 1))
    cut = photo.convert("RGB")
    cut.putalpha(inset.filter(ImageFilter.GaussianBlur(feather_px / 2)))
    return cut


def soften_below(photo: Image.Image, y_px: int, radius_px: float) -> Image.Image:
    """Put all that lies below `y_px` out of focus."""
    below = Image.new("L", photo.size, 0)
    below.paste(255, (0, y_px, *photo.size))
    mask = below.filter(ImageFilter.GaussianBlur(4))
    return Image.composite(photo.filter(ImageFilter.GaussianBlur(radius_px)), photo, mask)


@cache
def collins() -> Cutout:
    """Eileen Collins, NASA portrait; her face is 110 px high.

    The collar of her suit is softened, because MTCNN takes its folds for a small face in some frames.
    """
    photo = soften_below(Image.fromarray(data.astronaut()), y_px=196, radius_px=3)
    hair, face = (147, 7, 308, 150), (170, 60, 278, 215)
    collar, suit = (108, 144, 308, 300), (50, 206, 350, 405)
    return Cutout(cut_out(photo, [hair, face, collar, suit], feather_px=8), 224.5, 117.0, 110.0)


@cache
def hopper() -> Cutout:
    """Grace Hopper, US Navy portrait; her face is 221 px high."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as file:
        photo = file.convert("RGB")
    cap, head = (142, 14, 380, 190), (144, 50, 386, 360)
    neck, coat = (180, 200, 350, 450), (26, 322, 508, 562)
    return Cutout(cut_out(photo, [cap, head, neck, coat], feather_px=12), 265.0, 230.0, 221.0)


def warp(image: Image.Image, centre: tuple[float, float], pose: Pose, scale: float) -> Image.Image:
    """Give a frame-sized layer in which `centre` of the image lies at the pose, enlarged by `scale`."""
    step = 1.0 / (scale * SUPERSAMPLE)
    a, b = step * cos(radians(pose.tilt_deg)), step * sin(radians(pose.tilt_deg))
    x, y = pose.x_px * SUPERSAMPLE, pose.y_px * SUPERSAMPLE
    inverse = (a, b, centre[0] - a * x - b * y, -b, a, centre[1] + b * x - a * y)
    size = (WIDTH_PX * SUPERSAMPLE, HEIGHT_PX * SUPERSAMPLE)
    layer = image.transform(size, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    return layer.reduce(SUPERSAMPLE)


def paste(frame: Image.Image, person: Cutout, pose: Pose) -> None:
    """Draw the person over the frame."""
    scale = pose.height_px / person.face_height_px
    layer = warp(person.image, (person.face_x_px, person.face_y_px), pose, scale)
    frame.paste(layer, mask=layer.getchannel("A"))


def wall(t_s: float, colour: tuple[int, int, int]) -> Image.Image:
    """Give a background out of focus: a gradient of one colour, with two waves that drift slowly."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float64)
    light = 0.85 + 0.25 * (x / WIDTH_PX) - 0.25 * (y / HEIGHT_PX)
    light += 0.10 * np.sin(2 * pi * (x + 0.4 * y + 30 * t_s) / 260)
    light += 0.07 * np.sin(2 * pi * (0.3 * x - y + 20 * t_s) / 140)
    return Image.fromarray(np.clip(light[..., None] * np.array(colour), 0, 255).astype(np.uint8))


def one_face(t_s: float) -> Image.Image:
    """Collins drifts along a figure of eight, and comes nearer and goes away twice in six seconds."""
    frame = wall(t_s, (120, 135, 150))
    turn = 2 * pi * t_s / 6
    pose = Pose(320 + 130 * sin(turn), 150 + 30 * sin(2 * turn), 105 - 35 * cos(2 * turn), 6 * sin(turn + 1))
    paste(frame, collins(), pose)
    return frame


def two_faces(t_s: float) -> Image.Image:
    """Collins goes right and Hopper left; at 3 s Collins, nearer, passes in front of Hopper."""
    frame = wall(t_s, (140, 130, 110))
    swing = 175 * cos(pi * t_s / 6)
    near = sin(pi * t_s / 6)
    paste(frame, hopper(), Pose(320 + swing, 165 + 10 * sin(t_s), 110 - 30 * near, 4 * sin(1.3 * t_s)))
    paste(frame, collins(), Pose(320 - swing, 160 - 10 * sin(t_s), 85 + 40 * near, 5 * sin(t_s + 2)))
    return frame


def cut_to_nobody(t_s: float) -> Image.Image:
    """Show Collins in seconds 0 and 1, a cup of coffee in 2 and 3, Hopper in 4 and 5; hard cuts between."""
    if t_s < 2:
        frame = wall(t_s, (110, 140, 130))
        paste(frame, collins(), Pose(270 + 50 * t_s, 150, 110 + 10 * sin(2 * t_s), 3 * sin(2 * t_s)))
    elif t_s < 4:
        cup = Image.fromarray(data.coffee())
        pose = Pose(WIDTH_PX / 2, HEIGHT_PX / 2, HEIGHT_PX)
        frame = warp(cup, (300 + 8 * (t_s - 3), 200), pose, 1.15 + 0.05 * (t_s - 3))
    else:
        frame = wall(t_s, (150, 125, 120))
        paste(frame, hopper(), Pose(400 - 60 * (t_s - 4), 165, 130 - 12 * (t_s - 4), 4 * sin(2 * t_s)))
    return frame


def frames(scene: Scene, duration_s: int) -> Iterator[av.VideoFrame]:
    """Draw the scene at every frame's time."""
    for index in range(duration_s * FPS):
        yield av.VideoFrame.from_image(scene(index / FPS))


def write(path: Path, scene: Scene, duration_s: int = 6) -> None:
    """Encode the scene as H.264 in MP4. One thread and bit-exact muxing give the same bytes on every run."""
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(path, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "24", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames(scene, duration_s):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main(folder: Path) -> None:
    """Write the clips into the folder."""
    for scene in (one_face, two_faces, cut_to_nobody):
        path = folder / f"{scene.__name__}.mp4"
        write(path, scene)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
