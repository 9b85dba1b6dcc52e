"""A real Chromium for tests of pages: the system's, not one that Playwright downloads."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.clips import read_number

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; without one the test is skipped, or fails where FERVID_REQUIRE_BROWSER=1 (.ci/run)."""
    if not Path(CHROMIUM).exists():
        missing = "Chromium is not installed (apt-get install chromium): the pages cannot be tried in a browser"
        (pytest.fail if os.environ.get("FERVID_REQUIRE_BROWSER") == "1" else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"],
        )
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page that is open, with all that it asked for and complained about."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(viewport=context.pop("viewport", {"width": 1280, "height": 900}), **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(file.absolute().as_uri())

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *exc: object) -> None:
        self.context.close()

    def __call__(self, program: str, *given: Any) -> Any:
        """Evaluate JavaScript in the page."""
        return self.page.evaluate(program, *given)

    def wait(self, condition: str, seconds: float = 15.0) -> None:
        """Wait until a condition holds in the page, whose policy forbids Playwright's own way (it evaluates text)."""
        until = monotonic() + seconds
        while not self(condition):
            assert monotonic() < until, f"waited in vain for {condition}"
            self.page.wait_for_timeout(30)

    def beyond_the_page(self) -> list[str]:
        """What was asked of anything but this machine's page itself."""
        return [url for url in self.requests[1:] if not url.startswith(("blob:", "data:"))]


def ready(visit: Visit) -> Visit:
    """Wait until the film can be played."""
    visit.wait("video.readyState >= 3")
    return visit


def over_chart(visit: Visit, second: float) -> tuple[float, float]:
    """Where a second lies in the chart, in pixels of the window."""
    visit.page.locator("#chart").scroll_into_view_if_needed()
    box = visit.page.locator("#chart .u-over").bounding_box()
    view = visit("[fervid.view.min, fervid.view.max]")
    return box["x"] + box["width"] * (second - view[0]) / (view[1] - view[0]), box["y"] + box["height"] / 3


def number_shown(visit: Visit, folder: Path) -> int:
    """The number (tests.helpers.clips) in the picture that the player shows."""
    visit("video.controls = false")
    visit.page.wait_for_timeout(150)
    visit.page.locator("#video").screenshot(path=folder / "shown.png")
    picture = np.asarray(Image.open(folder / "shown.png").convert("RGB")).astype(float)
    w, h = visit("[video.videoWidth, video.videoHeight]")
    height, width = picture.shape[:2]
    scale = min(width / w, height / h)
    top, left = round((height - h * scale) / 2), round((width - w * scale) / 2)
    return read_number(picture[top : top + round(h * scale), left : left + round(w * scale)])


#: Elements that reach beyond a phone's screen.
TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > 391 && !e.closest('.skip')).map((e) => e.outerHTML.slice(0, 80))"""
#: Addresses in the page that are of a network.
ADDRESSES = """() => [...document.querySelectorAll('[src], [href]')]
    .map((e) => e.getAttribute('src') || e.getAttribute('href')).filter((text) => /^(\\w+:)?\\/\\//.test(text))"""
#: What has the focus: its name, and how its outline is drawn.
FOCUS = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    return [e.id || e.className || e.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
}"""
#: Whether a box is drawn over the film.
BOX_DRAWN = """() => {
    const c = document.getElementById('boxes');
    return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0);
}"""
#: How many colours a piece of the chart has, at a share of its width and so many pixels from its top.
COLOURS = """([share, y]) => {
    const canvas = document.querySelector('#chart canvas'), plot = document.querySelector('.u-over');
    const a = plot.getBoundingClientRect(), b = canvas.getBoundingClientRect(), ratio = canvas.width / b.width;
    const x = (a.left - b.left + a.width * share) * ratio, found = new Set();
    const data = canvas.getContext('2d').getImageData(x - 20, y, 40, 20).data;
    for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
    return found.size;
}"""
#: Texts whose contrast with their ground is below 4.5 (WCAG 2.2, 1.4.3).
POOR_CONTRAST = """() => {
    const rgb = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const linear = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const ground = (e) => {
        for (; e; e = e.parentElement) {
            const colour = rgb(getComputedStyle(e).backgroundColor);
            if (colour.length < 4 || colour[3] > 0.99) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const e of document.querySelectorAll('body *')) {
        const has = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!has || !e.checkVisibility({ opacityProperty: true }) || e.closest('script, .screen')) continue;
        const both = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
        const ratio = (both[0] + 0.05) / (both[1] + 0.05);
        if (ratio < 4.5) poor.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return poor;
}"""
