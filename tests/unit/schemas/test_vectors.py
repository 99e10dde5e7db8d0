"""The shared vectors by the standard library alone, and all of them by Node."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
import subprocess
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VECTORS = Path(__file__).parents[2] / "vectors"
READ_BY_NODE = ("signing", "keys", "tokens", "channel_auth")


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / name).read_text("utf-8"))["cases"]
    return found


def decoded(part: str) -> Any:
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("case", cases("tokens.json"), ids=lambda case: str(case["name"]))
def test_connection_tokens_agree_with_the_vectors(case: dict[str, Any]) -> None:
    """A token is its header and claims under the key that the secret gives for tokens alone."""
    info = b"headgate connection token"
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(case["secret"].encode())
    assert key.hex() == case["derived_key"]
    header, claims, mac = case["token"].split(".")
    assert decoded(header) == {"alg": "HS256", "typ": "headgate-connection+jwt", "kid": case["key_id"]}
    assert decoded(claims) == case["claims"]
    made = hmac.digest(key, f"{header}.{claims}".encode(), "sha256")
    assert urlsafe_b64encode(made).rstrip(b"=").decode() == mac


@pytest.mark.parametrize("case", cases("channel_auth.json"), ids=lambda case: str(case["channel"]))
def test_channel_signatures_agree_with_the_vectors(case: dict[str, Any]) -> None:
    """A subscription's signature is over the socket, the channel and its data, with colons between them."""
    signed = ":".join(part for part in (case["socket_id"], case["channel"], case["channel_data"]) if part is not None)
    made = hmac.new(case["secret"].encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert f"{case['key']}:{made}" == case["auth"]


def test_node_agrees_with_the_vectors() -> None:
    """Every vector of requests, partitions, tokens and subscriptions passes in Node, which ships with no library."""
    node = shutil.which("node")
    assert node is not None, "node is not on PATH: install the package nodejs"
    command = [node, "--test-reporter=tap", str(VECTORS / "vectors.test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    kept = [json.loads((VECTORS / f"{name}.json").read_text("utf-8")) for name in READ_BY_NODE]
    expected = sum(len(one.get("vectors", one.get("cases", ()))) for one in kept)
    assert passed == [str(expected)], done.stdout
