"""How fluid a report of a long film is in headless Chromium: `python -m tests.benchmarks.report`.

Makes a timeline of that size, writes its page, opens it, and prints the page's size, the time to the first paint with
the chart in it, and milliseconds a redraw: while zooming, while panning, and when a track is switched.
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
SWITCH = """for (let i = 0; i < 20; i++) {
    const t = performance.now(); f.choose((lane) => lane.i !== i % 5); spent.push(performance.now() - t); await frame();
}"""


def measured(page: Any, name: str, program: str) -> None:
    """Run a program in the page; print milliseconds a redraw by the clock, and of the page's thread by its CPU time."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy_s(session)
    spent = page.evaluate(f"""async () => {{
        const f = window.fervid, spent = [];
        const frame = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
        await frame(); f.redraws.length = 0; {program}
        await frame(); return f.redraws.map((ms, i) => ms + (spent[i] || 0)); }}""")
    cpu = 1000 * (busy_s(session) - before) / len(spent)
    clock = f"by the clock median {statistics.median(spent):6.1f} ms, worst {max(spent):6.1f}"
    print(f"{name:<18} {clock}; CPU of the page's thread, all told {cpu:6.1f} ms a redraw ({len(spent)} redraws)")


def busy_s(session: Any) -> float:
    """Seconds for which the page's thread has been at work."""
    facts = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return facts["TaskDuration"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--share", type=float, default=0.6, help="part of the film in which a track is on screen")
    parser.add_argument("--keep", type=Path, help="keep the page here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        timeline = crowd(
            Path(folder) / "t.parquet", seconds=int(args.hours * 3600), tracks=args.tracks, share=args.share
        )
        out = args.keep or Path(folder) / "report.html"
        began = time.process_time()
        fervid.report(timeline, out)
        print(f"written in         {time.process_time() - began:.1f} s of CPU, {out.stat().st_size / 1e6:.1f} MB")
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
        measured(page, "zoom", ZOOM)
        measured(page, "pan", PAN)
        measured(page, "switch a track", SWITCH)
        browser.close()


if __name__ == "__main__":
    main()
