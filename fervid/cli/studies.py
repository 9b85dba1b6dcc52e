"""Commands about studies: agree and disfa."""

from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import GOES_ON, Debug, JsonCommand, LineDevice, LineWeights, Quiet, command

__all__ = ["agree", "disfa"]

JsonTo = Annotated[str | None, typer.Option("--json", metavar="[-|FILE]", help="Write JSON: to stdout (-), or a file.")]


@command("fervid agree film.parquet coders.csv --out agreement", cls=JsonCommand)
def agree(
    timeline: Annotated[Path, typer.Argument(metavar="TIMELINE", help="What fervid found.", show_default=False)],
    ratings: Annotated[
        list[Path], typer.Argument(metavar="RATINGS.csv...", help="What people said: one table or several.")
    ],
    track: Annotated[int | None, typer.Option(help="Compare this track (everybody on screen).")] = None,
    person: Annotated[int | None, typer.Option(help="Compare this person.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="Ends of the score's scale, such as 1:7.", metavar="LOW:HIGH")
    ] = None,
    gaps: Annotated[
        str | None, typer.Option(help="What lies between labelled intervals, such as neutral (not rated).")
    ] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave out labels that are no known emotion, and count them.")
    ] = False,
    max_lag: Annotated[int, typer.Option(help="Largest shift tried for the best lag.", metavar="S")] = 5,
    block: Annotated[int, typer.Option(help="Length of the bootstrap's blocks.", metavar="S")] = 10,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for JSON, CSV and a figure (PNG).")] = None,
    as_json: JsonTo = None,
    debug: Debug = False,
) -> None:
    """Tell how far a timeline agrees with human coders, and whether the machine is inside the human spread.

    RATINGS has a time (second, time, m:ss) or intervals (start with end or duration), a label or scores by emotion, and
    one rater or several (a column rater; or rater1, rater2; or happiness_r1, happiness_r2).
    """
    import fervid
    from fervid.views import terminal
    from fervid.views.figures import agreement

    result = fervid.agree(
        timeline,
        ratings,
        track=track,
        person=person,
        scale=scale,
        gaps=gaps,
        ignore_unknown=ignore_unknown,
        max_lag_s=max_lag,
        block_s=block,
    )
    written = agreement.write_agreement(result, out) if out else []
    if as_json:
        terminal.write_json(result.facts, as_json)
    if as_json != "-":
        agreement.print_agreement(result, written)


@command("fervid disfa DISFA/ --out disfa --workers 4", cls=JsonCommand, again=GOES_ON)
def disfa(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The folder that DISFA lies in.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)],
    camera: Annotated[str, typer.Option(help="left, right or both.")] = "left",
    workers: Annotated[int | None, typer.Option(help="Processes (one a core).")] = None,
    weights: LineWeights = None,
    device: LineDevice = None,
    quiet: Quiet = False,
    as_json: JsonTo = None,
    debug: Debug = False,
) -> int:
    """Compare every frame of DISFA with its coded action units. Run again, it goes on where it was.

    ROOT holds Videos_LeftCamera/, Videos_RightCamera/ and ActionUnit_Labels/, in folders of whatever names.
    """
    import fervid
    from fervid.views import batch_progress as batch
    from fervid.views import terminal
    from fervid.views.figures import disfa as view

    with batch.watch_batch(quiet=quiet) as on_event:
        report = fervid.disfa(
            root, out, camera=camera, workers=workers, on_event=on_event, weights=weights, device=device
        )
    written = view.write_report(report, out)
    if as_json:
        terminal.write_json(report.facts, as_json)
    if as_json != "-" and not quiet:
        view.print_report(report, written)
    return report.exit_code
