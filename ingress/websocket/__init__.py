"""Sessions over WebSocket (RFC 6455), for clients that have no WebTransport: the same session behind another door."""
