"""The operator's room: the command line, everything in one process tree for development, the demo."""
