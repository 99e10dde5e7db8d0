"""Text from elsewhere made fit for a terminal or a log line."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """`text`, cut to `limit` characters, with all that a terminal would obey instead of show as escapes.

    That is control characters (a line break could forge a line, ESC could rewrite earlier ones), and those
    that reorder or hide what is around them (bidirectional and zero-width ones, line separators, surrogates).
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
