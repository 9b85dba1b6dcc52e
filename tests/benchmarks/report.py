"""Responsiveness of the report of a long film in headless Chromium: `python -m tests.benchmarks.report`.

Write a synthetic timeline and its report, open the page, and print its size, the time to the first paint including the
chart, and milliseconds per redraw: while zooming, while panning, and when toggling a track.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import fervid
from tests.helpers.timelines import crowd

CHROMIUM = "/usr/bin/chromium"
ZOOM = """for (let i = 0; i < 40; i++) {
    const m = i < 20 ? 0.8 : 1.25, { min, max } = f.view, c = (min + max) / 2, h = (max - min) * m / 2;
    f.setView(c - h, c + h); await frame();
}"""
PAN = """const all = f.view.max; f.setView(0, all / 4); await frame(); f.redraws.length = 0;
for (let i = 0; i < 40; i++) { f.setView(i * all / 60, i * all / 60 + all / 4); await frame(); }"""
TOGGLE = """for (let i = 0; i < 20; i++) {
    const t = performance.now(); f.choose((lane) => lane.i !== i % 5); spent.push(performance.now() - t); await frame();
}"""


def measure(page: Any, name: str, script: str) -> None:
    """Run a script in the page; print milliseconds per redraw, as wall time and as CPU time of the page's thread."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy_s(session)
    spent = page.evaluate(f"""async () => {{
        const f = window.fervid, spent = [];
        const frame = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
        await frame(); f.redraws.length = 0; {script}
        await frame(); return f.redraws.map((ms, i) => ms + (spent[i] || 0)); }}""")
    cpu = 1000 * (busy_s(session) - before) / len(spent)
    wall = f"wall median {statistics.median(spent):6.1f} ms, worst {max(spent):6.1f} ms"
    print(f"{name:<18} {wall}; CPU of the page's thread {cpu:6.1f} ms per redraw ({len(spent)} redraws)")


def busy_s(session: Any) -> float:
    """CPU seconds of the page's thread."""
    facts = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return facts["TaskDuration"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3, help="length of the film (default %(default)s)")
    parser.add_argument("--tracks", type=int, default=40, help="number of tracks (default %(default)s)")
    parser.add_argument(
        "--share",
        type=float,
        default=0.6,
        help="share of the film in which each track is visible (default %(default)s)",
    )
    parser.add_argument("--keep", type=Path, help="write the report to this file and keep it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        timeline = crowd(
            Path(folder) / "t.parquet", seconds=int(args.hours * 3600), tracks=args.tracks, share=args.share
        )
        out = args.keep or Path(folder) / "report.html"
        start = time.process_time()
        fervid.report(timeline, out)
        print(f"written in         {time.process_time() - start:.1f} s of CPU, {out.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        paints = []
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(out.absolute().as_uri())
            page.wait_for_timeout(1500)
            name = "performance.getEntriesByName('first-contentful-paint')[0]"
            paints.append(
                max(
                    page.evaluate(f"{name}.startTime"),
                    page.evaluate("performance.timing.domInteractive - performance.timing.navigationStart"),
                )
            )
            if len(paints) < 5:
                page.close()
        print(
            f"first paint        median {statistics.median(paints):.0f} ms   worst {max(paints):.0f} ms, chart included"
        )
        page.evaluate("document.getElementById('chart').scrollIntoView()")
        measure(page, "zoom", ZOOM)
        measure(page, "pan", PAN)
        measure(page, "toggle a track", TOGGLE)
        browser.close()


if __name__ == "__main__":
    main()
