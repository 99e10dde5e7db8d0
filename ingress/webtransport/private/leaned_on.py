"""The form of the lists of what is leaned on."""

from __future__ import annotations

from typing import TypeAlias

#: (owner, attribute, what for), the owner one of aioquic's classes.
LeanedOn: TypeAlias = tuple[tuple[str, str, str], ...]
