"""The HTTP API that the application and operators call. Requests become entries of the outbound log."""
