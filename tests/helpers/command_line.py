"""The command line, run in this process."""

from pathlib import Path

from typer.testing import CliRunner

from fervid.cli import app

__all__ = ["ONE_FACE", "SAMPLES", "run"]

SAMPLES = Path(__file__).parents[2] / "sample_videos"
ONE_FACE = SAMPLES / "one_face.mp4"


def run(*args: object, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    """Run `fervid ARGS` in this process.

    Parameters
    ----------
    args : object
        Command and arguments; each is converted to text.
    stdin : str or bytes, optional
        What the command reads from stdin.

    Returns
    -------
    tuple of (int, str, str)
        Exit code, stdout, stderr. An exception that the command does not handle is raised.
    """
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
