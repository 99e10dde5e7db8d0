"""How settings become the front door of a gateway."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ingress.app import reset_key
from runtime.settings import Settings
from schemas.errors import ConfigurationError

SECRET = "s" * 32


def test_a_reset_key_lasts_and_is_of_one_gateway() -> None:
    """A gateway that is started again has the same key; one with another port, address or secret has another."""
    made = [
        reset_key(Settings.model_validate({"secret": SECRET} | own))
        for own in (
            {},
            {"gateway_id": "another"},
            {"ingress_port": 4434},
            {"ingress_host": "::1"},
            {"secret": "x" * 32},
        )
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 4
    assert SECRET.encode() not in b"".join(made)
    with pytest.raises(ConfigurationError, match="HEADGATE_SECRET"):
        reset_key(Settings.model_validate({"secret": "short"}))


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are separated by commas; what is no network is refused before anything starts."""
    monkeypatch.setenv("HEADGATE_TRUSTED_PROXIES", "10.0.0.5, 2001:db8::/64")
    assert Settings().trusted_proxies == ("10.0.0.5", "2001:db8::/64")
    monkeypatch.setenv("HEADGATE_TRUSTED_PROXIES", "proxy.example")
    with pytest.raises(ValidationError, match="proxies"):
        Settings()
