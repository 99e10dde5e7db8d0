"""The sockets: sessions over WebTransport, and what every transport and session have in common."""
