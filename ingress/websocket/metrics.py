"""What the WebSocket listener counts beyond sessions and frames."""

from __future__ import annotations

from prometheus_client import Counter

EVENTS = Counter("headgate_websocket_events", "What the WebSocket listener saw.", ["event"])
