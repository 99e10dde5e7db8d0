"""A stand-in for the Laravel application: enough of its contract for the demo and for development."""
