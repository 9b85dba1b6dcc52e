"""Check an installation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fervid.self_test import SelfTest


__all__ = [
    "doctor",
    "selftest",
]


def doctor() -> dict[str, Any]:
    """Describe this installation: versions, devices, the bundled FFmpeg, and the weights with their hashes.

    Returns
    -------
    dict[str, Any]
        Plain values.
    """
    from fervid.diagnostics import diagnose

    return diagnose()


def selftest(device: str = "auto") -> "SelfTest":
    """Process a small sample video and compare the result with the expected one.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    SelfTest
        `passed`, and `checks` with what was expected and found.

    Raises
    ------
    UsageError
        If the device is not available.
    """
    from fervid.self_test import run_self_test

    return run_self_test(device)
