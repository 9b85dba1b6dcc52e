"""A real Chromium for tests of pages: the system's, not one that Playwright downloads."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
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

    def beyond_the_page(self) -> list[str]:
        """What was asked of anything but this machine's page itself."""
        return [url for url in self.requests[1:] if not url.startswith(("blob:", "data:"))]
