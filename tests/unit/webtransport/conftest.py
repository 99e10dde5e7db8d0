from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ingress.server.certificates import TlsIdentity, development_certificate
from tests.unit.webtransport.pair import Pair


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> TlsIdentity:
    return development_certificate(tmp_path_factory.mktemp("tls"), datetime.now(UTC)).load()


@pytest.fixture
def make_pair(identity: TlsIdentity) -> Callable[..., Pair]:
    """Makes a client and a server that have finished their handshake."""

    def make(**options: object) -> Pair:
        pair = Pair(identity, **options)  # type: ignore[arg-type]
        pair.run()
        return pair

    return make


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    """A client and a server with an open session and no event left to look at."""
    pair = make_pair()
    pair.open_session()
    return pair
