"""What happened to a session, a user, a channel or an event: from the frame to the gateways, and why no further."""
