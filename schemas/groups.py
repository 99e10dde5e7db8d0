"""The consumer groups that a whole Headgate has: nothing is trimmed before each of them has handled it."""

from __future__ import annotations

from typing import Final

#: Groups of the inbound logs.
INBOUND: Final = ("auth", "channels", "laravel", "persistence")
#: The one that hands over by HTTP: there is none where the application reads the log itself.
FORWARDER: Final = "laravel"
#: The one that decides who is in which channel.
CHANNELS: Final = "channels"
#: Groups of the outbound logs.
OUTBOUND: Final = ("router", "persistence")
#: Groups of the trails of both.
TRAIL: Final = ("persistence",)
