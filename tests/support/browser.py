"""Headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, async_playwright, expect

from tests.support.waiting import PATIENCE

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Screenshots of the tests; git ignores the folder.
ARTIFACTS: Final = Path(__file__).resolve().parents[2] / "artifacts"


def chromium_path() -> str:
    """The browser's binary; raises RuntimeError with what to install when there is none."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    for name in names:
        if name and (path := shutil.which(name)):
            return path
    raise RuntimeError("no Chromium on PATH: install it (Debian: chromium) or set CHROMIUM")


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """A browser with a fresh profile, started with `flags` too, until the block ends.

    What is expected of pages may take ten seconds (times PATIENCE): two cores run browsers, PHP and services at once.
    """
    expect.set_options(timeout=10_000 * PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), headless=True, args=[*FLAGS, *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()
