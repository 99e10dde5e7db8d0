"""Which Headgate this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def headgate_version() -> str:
    """The installed distribution's version; `0+checkout` where the code runs without being installed."""
    try:
        return version("headgate")
    except PackageNotFoundError:
        return "0+checkout"
