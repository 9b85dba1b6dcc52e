"""Videos of simulated_people: photographs of heads that walk in front of a moving background, with known identities.

The portraits are the two of sample_videos/, mirrored and in several lights; nearer heads hide farther ones. Frames that
a scene drops are not written, so that its time has gaps; a cut changes the background and all places.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tests.helpers.films import RATE, SIZE, Film, photograph
from tests.helpers.simulated_people import Scene, Sightings, sightings

#: Of each portrait: the part that is used, MTCNN's box of the face in it, and the ellipse of the head.
_COLLINS = ((128, 0, 328, 250), (52, 62, 141, 174), (18, 2, 166, 218))
_HOPPER = ((120, 20, 400, 400), (59, 91, 236, 319), (30, 2, 262, 366))
_BACKGROUNDS = ("coffee", "brick", "rocket", "chelsea")


@cache
def head(person: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Cut out a head with a soft edge (RGBA), and the box of its face. Numbers equal modulo 12 give the same head."""
    import skimage.data

    if person % 2 == 0:
        image, (part, box, ellipse) = Image.fromarray(skimage.data.astronaut()), _COLLINS
    else:
        image, (part, box, ellipse) = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)), _HOPPER
    shown = ImageEnhance.Brightness(image.convert("RGB").crop(part)).enhance((0.7, 1.0, 1.2)[person // 2 % 3])
    y, x = np.mgrid[: shown.height, : shown.width]
    left, top, right, bottom = ellipse
    off = ((2 * x - left - right) / (right - left)) ** 2 + ((2 * y - top - bottom) / (bottom - top)) ** 2
    shown.putalpha(Image.fromarray(np.where(off < 1, 255, 0).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3)))
    if person // 6 % 2:
        shown, box = ImageOps.mirror(shown), (shown.width - box[2], box[1], shown.width - box[0], box[3])
    return shown, box


def frames(scene: Scene, seen: list[Sightings], seed: int) -> Iterator[Image.Image]:
    """Draw each frame."""
    random = np.random.default_rng(seed)
    backgrounds = random.permutation(len(_BACKGROUNDS))
    for one in seen:
        whole = photograph(_BACKGROUNDS[backgrounds[one.shot % len(_BACKGROUNDS)]])
        wide = min(whole.width, whole.height * 16 / 9) * 0.7
        left = (whole.width - wide) * (0.5 + 0.4 * np.sin(0.3 * one.pts_s + one.shot))
        box = (left, whole.height / 8, left + wide, whole.height / 8 + wide * 9 / 16)
        frame = whole.resize(scene.size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        height = one.truth[:, 3] - one.truth[:, 1]
        for i in np.argsort(height):
            _put(frame, int(one.present[i]), one.truth[i])
        yield frame


def _put(frame: Image.Image, person: int, box: np.ndarray) -> None:
    """Paste a head so that its face fills the box."""
    shown, (x0, y0, x1, y1) = head(person)
    scale = float(box[3] - box[1]) / (y1 - y0)
    size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
    small = shown.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    centre = (box[:2] + box[2:]) / 2 - scale * np.array([x0 + x1, y0 + y1]) / 2
    frame.paste(small, (round(float(centre[0])), round(float(centre[1]))), small)


def write(path: Path, scene: Scene, seed: int) -> list[Sightings]:
    """Write a scene as a video -> what is seen in each frame."""
    seen = sightings(scene, seed)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=round(scene.fps), options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *scene.size, "yuv420p"
        for one, image in zip(seen, frames(scene, seen, seed)):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = round(one.pts_s * scene.fps), Fraction(1, round(scene.fps))
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return seen


def dialogue(seed: int, shots: int = 8) -> Film:
    """A film of portraits joined by hard cuts: each shot has another head, which sways in front of a smooth wall."""
    random = np.random.default_rng(seed)
    parts = [_portrait(random, i, int(random.uniform(1.6, 4) * RATE)) for i in range(shots)]
    starts = np.cumsum([len(part) for part in parts])[:-1]
    return Film(np.concatenate(parts), [(int(start), 0, "cut") for start in starts])


def _portrait(random: np.random.Generator, person: int, n: int) -> np.ndarray:
    """Draw frames (n, 90, 160, 3) of a head of a third to nine tenths of the height, with grain."""
    width, height = SIZE
    corners = random.uniform(50, 205) + random.normal(0, 12, 3) + random.normal(0, 15, (2, 2, 1))
    wall = Image.fromarray(corners.clip(0, 255).astype(np.uint8)).resize(SIZE, Image.Resampling.BILINEAR)
    skin, _ = head(person)
    size = random.uniform(0.35, 0.9) * height
    skin = skin.resize((max(1, round(size * skin.width / skin.height)), round(size)), Image.Resampling.LANCZOS)
    place = random.uniform((0.2, 0.4), (0.8, 0.6)) * SIZE
    sway, pace = random.uniform(0, 0.06, 2) * SIZE, random.uniform(1, 4, 2)
    images = []
    for t in np.arange(n) / RATE:
        x, y = place + sway * np.sin(pace * t)
        frame = wall.copy()
        frame.paste(skin, (round(x - skin.width / 2), round(y - skin.height / 2)), skin)
        images.append(np.asarray(frame) + random.normal(0, 3, (height, width, 3)))
    return np.clip(images, 0, 255).astype(np.uint8)
