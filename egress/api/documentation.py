"""What the OpenAPI document says beyond the routes: answers that refuse, and how requests are signed."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from egress.api.requests import Failure
from egress.api.signed import OPEN_PATHS
from schemas.signing import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

Answers = dict[int | str, dict[str, Any]]

_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
UNAVAILABLE: Final[Answers] = {
    503: {"model": Failure, "description": "The log is away, and nothing is promised. Try again.", "headers": _RETRY}
}
NOT_FOUND: Final[Answers] = {404: {"model": Failure, "description": "No such session is live."}}
#: What every signed route may answer.
SIGNED: Final[Answers] = {
    401: {"model": Failure, "description": "The signature is missing, wrong, too old, or its nonce was used."},
    413: {"model": Failure, "description": "The body is too long."},
    422: {"model": Failure, "description": "The body or a parameter is not what it should be."},
    429: {"model": Failure, "description": "The key has had its requests of this minute.", "headers": _RETRY},
    **UNAVAILABLE,
}

_DESCRIPTION: Final = """\
What an application and operators ask of Headgate. Requests carry four headers with a signature over method, request
target, time, nonce and body; docs/laravel.md has the text that is signed, with an implementation and test vectors.
Bodies are JSON of at most 256 KiB. Every refusal is `{"error": "…"}`.
"""
_TAGS: Final = [
    {"name": "messages", "description": "Send, broadcast, disconnect: each becomes one entry of the outbound log."},
    {"name": "batches", "description": "The same for up to 100 at once, with an outcome for each, in order."},
    {"name": "sessions", "description": "Who is connected."},
    {"name": "channels", "description": "Which channels there are, who is in them, what was published."},
    {"name": "operator", "description": "Health, metrics and the streams, unsigned."},
]
#: Security schemes by name: header and what is in it.
_SCHEMES: Final = {
    "key": (KEY_HEADER, "Name of the key that signs."),
    "timestamp": (TIMESTAMP_HEADER, "Seconds since 1970; at most 300 away from the clock of Headgate."),
    "nonce": (NONCE_HEADER, "Text of at most 128 characters that was never used before."),
    "signature": (SIGNATURE_HEADER, "`v1=` and the HMAC-SHA-256 in lower-case hexadecimal."),
}


def document(app: FastAPI) -> None:
    """Let `app` describe itself with the signature and without what FastAPI assumes."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_made(app))
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def _made(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, tags=_TAGS, routes=app.routes)
    schema["components"]["securitySchemes"] = {
        name: {"type": "apiKey", "in": "header", "name": header, "description": description}
        for name, (header, description) in _SCHEMES.items()
    }
    schema["security"] = [{name: [] for name in _SCHEMES}]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path in OPEN_PATHS:
                operation["security"] = []
    # FastAPI's own form of a failed validation, which is none of ours.
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
    return schema
