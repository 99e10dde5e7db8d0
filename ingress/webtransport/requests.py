"""Reads a request's headers: is it a WebTransport session, and what does the client ask for?"""

from __future__ import annotations

import re

from aioquic.h3.events import Headers

from ingress.webtransport.events import SessionRequested

#: The draft's token up to draft 14, and since.
_PROTOCOLS = (b"webtransport", b"webtransport-h3")
#: One member of a list of strings (RFC 8941, sections 3.1 and 3.3.3); its parameters are ignored.
_PARAMETER = r';[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z0-9:/+=*!#$%&\'.^_`|~?-]+))?'
_MEMBER = re.compile(rf'"((?:[ !#-\[\]-~]|\\["\\])*)"(?:{_PARAMETER})*')
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def read(headers: Headers) -> SessionRequested | int:
    """The session that is asked for, or the HTTP status to refuse the request with.

    404 for GET and HEAD, 405 for other methods than CONNECT, 501 for CONNECT with another `:protocol`
    (RFC 9220, section 3), 400 for what WebTransport does not allow: not https, no path, several Origins.
    """
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)

    def first(name: bytes) -> bytes | None:
        return fields.get(name, [None])[0]

    if first(b":method") in (b"GET", b"HEAD"):
        return 404
    if first(b":method") != b"CONNECT":
        return 405
    if first(b":protocol") not in _PROTOCOLS:
        return 501
    origins = fields.get(b"origin", [])
    path = first(b":path")
    if first(b":scheme") != b"https" or not path or len(origins) > 1:
        return 400
    user_agent = first(b"user-agent")
    return SessionRequested(
        path=_text(path),
        authority=_text(first(b":authority") or b""),
        origin=_text(origins[0]) if origins else None,
        protocols=_strings(fields.get(b"wt-available-protocols", [])),
        user_agent=None if user_agent is None else _text(user_agent),
    )


def protocol_header(protocol: str) -> tuple[bytes, bytes]:
    """The header that tells the client which of its protocols was chosen (draft, section 3.3)."""
    quoted = protocol.replace("\\", "\\\\").replace('"', '\\"')
    return b"wt-protocol", f'"{quoted}"'.encode("ascii")


def _text(value: bytes) -> str:
    # Field values are bytes (RFC 9110, section 5.5); this keeps every one of them and never fails.
    return value.decode("latin-1")


def _strings(values: list[bytes]) -> tuple[str, ...]:
    """A list of strings; all of it is ignored when any member is something else (RFC 8941, section 4.2)."""
    text = _text(b", ".join(values)).strip(" ")
    strings: list[str] = []
    position = 0
    while position < len(text):
        member = _MEMBER.match(text, position)
        if member is None:
            return ()
        strings.append(re.sub(r"\\(.)", r"\1", member[1]))
        position = member.end()
        if position == len(text):
            break
        comma = _COMMA.match(text, position)
        if comma is None or comma.end() == len(text):
            return ()
        position = comma.end()
    return tuple(strings)
