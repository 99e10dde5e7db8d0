"""The web console: what operators see of a running Headgate, and what they may do to it."""
