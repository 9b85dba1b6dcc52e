"""Commands for the installation itself: doctor and selftest."""

from fervid.cli.app import command
from fervid.cli.options import Device, Json, Quiet

__all__ = ["doctor", "selftest"]


@command("Installation", "fervid doctor", bare=True)
def doctor(as_json: Json = False) -> None:
    """Show versions, devices, the bundled FFmpeg, and the weights with their hashes."""
    import fervid
    from fervid.views import terminal

    terminal.show(fervid.doctor(), as_json=as_json, labels={"max_pixels": "pixels per frame, at most"})


@command("Installation", "fervid selftest", bare=True)
def selftest(device: Device = "auto", quiet: Quiet = False, as_json: Json = False) -> int:
    """Process a small sample video and compare the result with the expected one. Takes less than a minute.

    The exit code is 0 if the installation computes what it should, else 1.
    """
    import fervid
    from fervid.views import terminal

    result = fervid.selftest(device)
    if as_json:
        terminal.print_json(result.to_dict())
    elif not quiet:
        terminal.print_self_test(result)
    return result.exit_code
