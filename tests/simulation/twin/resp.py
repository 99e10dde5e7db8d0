"""Answers of a server that are neither None, int, bytes, list nor dict."""

from __future__ import annotations


class Failure(Exception):
    """An error answer, such as `WRONGTYPE …`."""


class Status(bytes):
    """A simple string, such as `OK`."""


OK = Status(b"OK")
