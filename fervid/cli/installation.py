"""Commands for the installation itself: doctor and selftest."""

from fervid.cli.app import command
from fervid.cli.options import Json

__all__ = ["doctor"]


@command("Installation", "fervid doctor", bare=True)
def doctor(as_json: Json = False) -> None:
    """Show versions, devices, the bundled FFmpeg, and the weights with their hashes."""
    from fervid.diagnostics import diagnose
    from fervid.views import terminal

    terminal.show(diagnose(), as_json=as_json)
