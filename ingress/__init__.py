"""The gateway: owns QUIC connections and sessions, appends what clients send, writes what the router delivers."""
