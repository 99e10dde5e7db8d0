"""The HTTP API against its own OpenAPI document: whatever is sent to it, it answers as it says."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, Final, cast

import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from redis import Redis
from requests import PreparedRequest, Session
from requests.auth import AuthBase
from schemathesis.specs.openapi.checks import positive_data_acceptance

from egress.api.app import Services, create
from egress.api.signed import OPEN_PATHS
from schemas.signing import KEY_HEADER, NONCE_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Signer
from tests.support.api import Api, running_api

#: As of a service, since it says the same before it has anything to stand on.
DOCUMENT: Final = create(Services(*[cast(Any, ...)] * 7)).openapi()
schema = schemathesis.openapi.from_dict(DOCUMENT)

#: What each of the single forms takes.
BODY: Final = {"userId": "u", "channel": "room", "message": {}}
SECURITY: Final[dict[str, list[str]]] = {"key": [], "timestamp": [], "nonce": [], "signature": []}
SIGNATURE: Final = {KEY_HEADER, TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER}


class Signed(AuthBase):
    """Signs what is sent, with a nonce of its own."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        body = request.body or b""
        assert isinstance(body, str | bytes)
        request.headers.update(
            self._signer.headers(
                request.method or "",
                request.path_url,
                body.encode() if isinstance(body, str) else body,
                timestamp=int(time.time()),
                nonce=secrets.token_hex(16),
            )
        )
        return request


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """A service in a thread of its own, so that what calls it may block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_api(api_requests_per_minute=0)) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session() as made:
        yield made


@schema.parametrize()
@settings(max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_promises(
    case: schemathesis.Case[Any], api: Api, session: Session
) -> None:
    """No 5xx, no status, header or body that is not declared, and nothing is taken that should have been refused."""
    # What comes without a header of the signature stays so; the values of the others are not for chance to choose.
    auth = Signed(api.settings.signer()) if SIGNATURE.issubset(case.headers) else None
    # No document can say which cursors pages gave.
    excluded: list[Any] = [positive_data_acceptance] if "cursor" in case.query else []
    case.call_and_validate(base_url=api.url, session=session, auth=auth, excluded_checks=excluded)


def test_nothing_but_monitoring_is_answered_unsigned(api: Api) -> None:
    """Every other operation of the document answers 401 to a request without a signature, and nothing is logged."""
    with Redis.from_url(api.settings.redis_url) as redis:
        before = sum(redis.xlen(api.keys.outbound(n)) for n in range(api.keys.partitions))
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            answer = httpx.request(method, f"{api.url}{path}", json=BODY if method == "post" else None)
            assert operation.get("security", DOCUMENT["security"]) == ([] if path in OPEN_PATHS else [SECURITY]), path
            assert answer.status_code == (200 if path in OPEN_PATHS else 401), path
    with Redis.from_url(api.settings.redis_url) as redis:
        assert sum(redis.xlen(api.keys.outbound(n)) for n in range(api.keys.partitions)) == before
    assert len(DOCUMENT["paths"]) > len(OPEN_PATHS) + 8


def test_the_document_is_whole(api: Api) -> None:
    """A running service serves it, and each operation in it says what it is, what it takes and how it refuses."""
    headers = api.signed("GET", "/openapi.json")
    assert httpx.get(f"{api.url}/openapi.json", headers=headers).json() == DOCUMENT
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"]
            assert operation["description"]
            assert set(operation["tags"]) <= tags
            parameters = {one["name"]: one for one in operation.get("parameters", [])}
            assert all(one["description"] for one in parameters.values()), path
            if method == "post":
                assert {"Idempotency-Key", "traceparent"} <= parameters.keys(), path
            if path not in OPEN_PATHS:
                assert {"401", "413", "422", "429", "503"} <= operation["responses"].keys(), path
                assert "Retry-After" in operation["responses"]["429"]["headers"]
    schemes = DOCUMENT["components"]["securitySchemes"].values()
    assert {one["name"] for one in schemes} == SIGNATURE
