"""What the gateway makes from the shared secret."""

from __future__ import annotations

import os

from runtime.settings import Settings
from schemas.resuming import ResumeSecrets
from schemas.sealing import Sealer


class GatewaySecrets:
    """The Secrets of every session."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError."""
        self._sealer = Sealer(settings.secret_bytes())
        self._resume = ResumeSecrets(settings.secret_bytes()) if settings.resume_seconds else None

    def seal(self, token: str, session: str) -> str:
        """`token` for the log."""
        return self._sealer.seal(token, session, os.urandom(12))

    def resume_secret(self, session: str, generation: int) -> str | None:
        """What the client can resume the session with; None when sessions cannot be resumed."""
        return self._resume.issue(session, generation) if self._resume else None

    def resumed_generation(self, session: str, secret: str) -> int | None:
        """Which generation of `session` has that secret, or None."""
        return self._resume.generation(session, secret) if self._resume else None
