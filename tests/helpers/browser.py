"""A real Chromium for tests of pages: that of the system, not one that Playwright downloads."""

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
    """Start a headless browser; without one the test is skipped, or fails if FERVID_REQUIRE_BROWSER=1 (.ci/run)."""
    if not Path(CHROMIUM).exists():
        missing = "Chromium is not installed (apt-get install chromium): the pages cannot be tested in a browser"
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
    """An open page, with its requests, console messages and dialogs."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(viewport=context.pop("viewport", {"width": 1280, "height": 900}), **context)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(file.absolute().as_uri())

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *exc: object) -> None:
        self.context.close()

    def __call__(self, program: str, *args: Any) -> Any:
        """Evaluate JavaScript in the page."""
        return self.page.evaluate(program, *args)

    def wait(self, condition: str, seconds: float = 15.0) -> None:
        """Wait for a condition; the policy of the page forbids Playwright's own way, which evaluates a string."""
        until = monotonic() + seconds
        while not self(condition):
            assert monotonic() < until, f"timed out waiting for {condition}"
            self.page.wait_for_timeout(30)

    def external_requests(self) -> list[str]:
        """Return the URLs that were requested besides the page itself."""
        return [url for url in self.requests[1:] if not url.startswith(("blob:", "data:"))]


def ready(visit: Visit) -> Visit:
    """Wait until the video can be played."""
    visit.wait("video.readyState >= 3")
    return visit


def over_chart(visit: Visit, second: float) -> tuple[float, float]:
    """Return the position of a second in the chart, in pixels of the window."""
    visit.page.locator("#chart").scroll_into_view_if_needed()
    box = visit.page.locator("#chart .u-over").bounding_box()
    view = visit("[fervid.view.min, fervid.view.max]")
    return box["x"] + box["width"] * (second - view[0]) / (view[1] - view[0]), box["y"] + box["height"] / 3


def number_shown(visit: Visit, folder: Path) -> int:
    """Read the number (tests.helpers.clips) in the frame that the player shows."""
    visit("video.controls = false")
    visit.page.wait_for_timeout(150)
    visit.page.locator("#video").screenshot(path=folder / "shown.png")
    image = np.asarray(Image.open(folder / "shown.png").convert("RGB")).astype(float)
    w, h = visit("[video.videoWidth, video.videoHeight]")
    height, width = image.shape[:2]
    scale = min(width / w, height / h)
    top, left = round((height - h * scale) / 2), round((width - w * scale) / 2)
    return read_number(image[top : top + round(h * scale), left : left + round(w * scale)])


#: Elements that extend beyond the screen of a phone.
TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > 391 && !e.closest('.skip')).map((e) => e.outerHTML.slice(0, 80))"""
#: URLs of a network in the page.
ADDRESSES = """() => [...document.querySelectorAll('[src], [href]')]
    .map((e) => e.getAttribute('src') || e.getAttribute('href')).filter((text) => /^(\\w+:)?\\/\\//.test(text))"""
#: The name of the focused element, and the style and width of its outline.
FOCUS = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    return [e.id || e.className || e.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
}"""
#: Whether a box is drawn over the video.
BOX_DRAWN = """() => {
    const c = document.getElementById('boxes');
    return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0);
}"""
#: The number of colours in a part of the chart, at a share of its width and a distance in pixels from its top.
COLOURS = """([share, y]) => {
    const canvas = document.querySelector('#chart canvas'), plot = document.querySelector('.u-over');
    const a = plot.getBoundingClientRect(), b = canvas.getBoundingClientRect(), ratio = canvas.width / b.width;
    const x = (a.left - b.left + a.width * share) * ratio, found = new Set();
    const data = canvas.getContext('2d').getImageData(x - 20, y, 40, 20).data;
    for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
    return found.size;
}"""
#: Texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3).
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
