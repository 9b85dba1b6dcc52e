"""Commands for studies: agree and disfa."""

from pathlib import Path
from typing import Annotated

import typer

from fervid.cli.app import RESUMES, command
from fervid.cli.options import (
    Json,
    JsonFile,
    PresetDevice,
    PresetWeights,
    Quiet,
    TimelineFile,
    argument,
    flag,
    option,
    output,
    parse_whole_time,
    time_option,
)

__all__ = ["agree", "disfa"]


@command("Studies", "fervid agree film.parquet coders.csv --out agreement")
def agree(
    timeline: TimelineFile,
    ratings: Annotated[list[Path], typer.Argument(metavar="RATINGS", help="One or more files of human ratings.")],
    track: Annotated[
        int | None, option(panel="Data", help="Compare this track (default all faces on screen).", metavar="N")
    ] = None,
    person: Annotated[int | None, option(panel="Data", help="Compare this person.", metavar="N")] = None,
    subject: Annotated[
        str | None,
        option(panel="Data", help="Read the ratings of this subject, participant or tier.", metavar="NAME"),
    ] = None,
    scale: Annotated[
        str | None, option(panel="Data", help="Ends of the scale of the scores, such as 1:7.", metavar="LOW:HIGH")
    ] = None,
    gaps: Annotated[
        str | None,
        option(
            panel="Data",
            help="Label of the time between labelled intervals, such as neutral (default not rated).",
            metavar="LABEL",
        ),
    ] = None,
    ignore_unknown: Annotated[
        bool, flag("--ignore-unknown", panel="Data", help="Skip labels that are no known emotion, and count them.")
    ] = False,
    max_lag_s: Annotated[
        int,
        time_option("--max-lag", panel="Data", help="Largest lag to try, in whole seconds.", parser=parse_whole_time),
    ] = 5,
    block_s: Annotated[
        int,
        time_option(
            "--block", panel="Data", help="Length of the bootstrap blocks, in whole seconds.", parser=parse_whole_time
        ),
    ] = 10,
    out: Annotated[Path | None, output("A folder for JSON, CSV and a figure (PNG).")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    json_file: JsonFile = None,
) -> None:
    """Measure how far a timeline agrees with human coders, and whether it is within the spread among them.

    RATINGS is a table (CSV, .xlsx) with a time (second, time, m:ss) or intervals (start with end or duration), a label
    or one score per emotion, and one or more raters (a column rater; or rater1, rater2; or happiness_r1, happiness_r2);
    events of BORIS; .eaf or tab-delimited text of ELAN; or subtitles. Times are those that a player shows.
    """
    import fervid
    from fervid.views import terminal
    from fervid.views.figures.agreement import print_agreement

    result = fervid.agree(
        timeline,
        ratings,
        out,
        track=track,
        person=person,
        subject=subject,
        scale=scale,
        gaps=gaps,
        ignore_unknown=ignore_unknown,
        max_lag_s=max_lag_s,
        block_s=block_s,
    )
    if json_file:
        terminal.write_json(result.facts, json_file)
    if as_json:
        terminal.print_json(result.facts)
    elif not quiet:
        print_agreement(result, list(result.written))


@command("Studies", "fervid disfa DISFA/ --out disfa --workers 4", rerun=RESUMES)
def disfa(
    root: Annotated[Path, argument("ROOT", "The folder that contains DISFA.")],
    out: Annotated[Path, output("The folder for the results.")],
    camera: Annotated[str, option(panel="Data", choices=("left", "right", "both"), help="Videos to compare.")] = "left",
    workers: Annotated[
        int | None, option(panel="Run", help="Worker processes (default one per core).", metavar="N")
    ] = None,
    weights: PresetWeights = None,
    device: PresetDevice = None,
    quiet: Quiet = False,
    as_json: Json = False,
    json_file: JsonFile = None,
) -> int:
    """Compare every frame of DISFA with its coded action units. Rerun to resume.

    ROOT contains Videos_LeftCamera/, Videos_RightCamera/ and ActionUnit_Labels/, in folders of any name.
    """
    import fervid
    from fervid.views import batch_progress, terminal
    from fervid.views.figures.disfa import print_report

    with batch_progress.watch_batch(quiet=quiet) as on_event:
        result = fervid.disfa(
            root, out, camera=camera, workers=workers, on_event=on_event, weights=weights, device=device
        )
    if json_file:
        terminal.write_json(result.facts, json_file)
    if as_json:
        terminal.print_json(result.facts)
    elif not quiet:
        print_report(result, list(result.written))
    return result.exit_code
