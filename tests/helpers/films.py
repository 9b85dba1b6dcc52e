"""Synthetic films with known cuts: photographs under a moving camera, joined hard, by fades and by dissolves.

They may contain what is not a cut: flashes, fast pans, the flicker of an explosion, strobes, people crossing the image.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image

RATE = 25
SIZE = (160, 90)
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "camera", "immunohistochemistry", "retina", "brick")


@dataclass
class Film:
    """frames (n, 90, 160, 3) at 25 per second, and the changes: (first frame of the new shot, length, kind)."""

    frames: np.ndarray
    changes: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def pts_s(self) -> np.ndarray:
        """The time of each frame."""
        return np.arange(len(self.frames)) / RATE

    def sampled(self, fps: int) -> "Film":
        """Sample the film; the changes keep the frame numbers of the whole film."""
        return Film(self.frames[:: RATE // fps], self.changes)


@cache
def photograph(name: str) -> Image.Image:
    """One of scikit-image's photographs, RGB."""
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def shot(random: np.random.Generator, name: str, n: int, *, speed: float = 0.06) -> np.ndarray:
    """A camera over a photograph: it pans by `speed` widths per second and zooms in or out; with grain."""
    whole = photograph(name)
    width = min(whole.width, whole.height * 16 / 9) * random.uniform(0.45, 0.65)
    height = width * 9 / 16
    t = np.arange(n) / RATE
    zoom = 1 + random.uniform(-0.04, 0.04) * t
    step = random.choice([-1, 1], 2) * speed * width * np.array([1, 0.3])
    room = np.array([whole.width - width, whole.height - height])
    place = random.uniform(0.2, 0.8, 2) * room + np.outer(t - t.mean(), step)
    place = room - np.abs(room - np.abs(place) % (2 * room))  # reverses at the edge
    frames = []
    for (x, y), z in zip(place, zoom):
        box = (x, y, min(x + width / z, whole.width), min(y + height / z, whole.height))
        frames.append(np.asarray(whole.resize(SIZE, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)))
    grain = random.normal(0, 3, (n, *SIZE[::-1], 3))
    return np.clip(np.stack(frames) + grain, 0, 255)


def film(seed: int, kinds: tuple[str, ...], *, disturb: str = "", shots: int = 8) -> Film:
    """Shots of 1.6 to 4 seconds joined by `kinds` in turn, each disturbed ("pan", or as in `disturbed`)."""
    random = np.random.default_rng(seed)
    names, made, changes = [], np.zeros((0, *SIZE[::-1], 3)), []
    for i in range(shots):
        names.append(random.choice([name for name in PHOTOGRAPHS if name not in names[-2:]]))
        speed = 1.0 if disturb == "pan" else random.uniform(0, 0.1)
        new = shot(random, names[-1], int(random.uniform(1.6, 4) * RATE), speed=speed)
        new = disturbed(random, new, disturb)
        if i == 0:
            made = new
            continue
        kind = kinds[i % len(kinds)]
        made, change = join(random, made, new, kind)
        changes.append(change)
    return Film(made.astype(np.uint8), changes)


def join(random: np.random.Generator, old: np.ndarray, new: np.ndarray, kind: str) -> tuple:
    """Append a shot to another -> the film, (frame, length, kind)."""
    n = 0 if kind == "cut" else int(random.uniform(0.5, 1.2) * RATE)
    if kind == "dissolve":
        share = ((np.arange(n) + 1) / (n + 1))[:, None, None, None]
        mixed = (1 - share) * old[-n:] + share * new[:n]
        return np.concatenate([old[:-n], mixed, new[n:]]), (len(old) - n // 2, n, kind)
    if kind == "fade":
        share = np.linspace(1, 0, n // 2)[:, None, None, None]
        old[-(n // 2) :] *= share
        new[: n // 2] *= share[::-1]
        n = 2 * (n // 2)
    return np.concatenate([old, new]), (len(old), n, kind)


def disturbed(random: np.random.Generator, frames: np.ndarray, how: str) -> np.ndarray:
    """Add two flashes of one to three frames, half a second of an explosion's flicker, a strobe, or people crossing."""
    n = len(frames)
    if how == "strobe":  # one second of alternating light and dark
        at, half = int(random.integers(6, n - 33)), int(random.integers(1, 4))
        dark = (np.arange(25) // half) % 2 == 0
        frames[at : at + 25][dark] *= random.uniform(0.02, 0.2)
    if how == "crossing":
        for side in (1, -1):
            _walk(random, frames, side)
    if how == "flash":
        for at in random.integers(6, n - 8, 2):
            frames[at : at + random.integers(1, 4)] += random.uniform(120, 230)
    if how == "flicker":
        at = int(random.integers(6, n - 20))
        for i in range(at, at + 13):
            light = random.uniform(0.3, 1.0) * np.array([200, 120, 40]) * (random.random() < 0.7)
            y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
            glow = np.exp(-((x - random.uniform(0, SIZE[0])) ** 2 + (y - 45) ** 2) / (2 * random.uniform(20, 60) ** 2))
            frames[i] = frames[i] * random.uniform(0.6, 1.3) + glow[:, :, None] * light
    return np.clip(frames, 0, 255)


def _walk(random: np.random.Generator, frames: np.ndarray, side: int) -> None:
    """A person as wide as a fifth of the image walks through it."""
    n, (width, height) = len(frames), SIZE
    name = random.choice(["chelsea", "astronaut", "coffee"])
    skin = np.asarray(photograph(name).resize((width // 5, height // 2), Image.Resampling.BILINEAR), float)
    y, x = np.mgrid[-1 : 1 : height // 2 * 1j, -1 : 1 : width // 5 * 1j]
    inside = x**2 + y**2 < 1
    top = int(random.integers(height // 8, height // 2 - height // 8))
    start, speed = random.uniform(-0.3, 0.4), random.uniform(0.25, 0.8)
    for i in range(n):
        across = start + speed * i / RATE
        left = round((across if side > 0 else 1 - across) * width) - width // 10
        low, high = max(left, 0), min(left + width // 5, width)
        if low < high:
            part = inside[:, low - left : high - left]
            frames[i, top : top + height // 2, low:high][part] = skin[:, low - left : high - left][part]


def score(film: Film, found_s: list[tuple[float, float]], slack_s: float) -> tuple[int, int, int]:
    """Match changes with found spans (start, end) that overlap them within slack_s -> hits, false ones, missed ones."""
    left = list(found_s)
    hits = 0
    for frame, length, _ in film.changes:
        low, high = (frame - length / 2 - 0.5) / RATE - slack_s, (frame + length / 2 + 0.5) / RATE + slack_s
        meets = [span for span in left if span[0] < high and span[1] > low]
        if meets:
            left.remove(meets[0])
            hits += 1
    return hits, len(left), len(film.changes) - hits
