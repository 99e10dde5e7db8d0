"""What the services say of themselves: health and metrics of the operator listeners whose addresses are configured."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from runtime.settings import mask_url
from runtime.tasks import cancel
from schemas.errors import ConfigurationError

#: Seconds between two looks, how many are kept for rates (a minute), and for one answer.
TICK_S: Final = 4.0
KEPT: Final = 15
TIMEOUT_S: Final = 2.0
#: Longest answer that is read, in bytes.
MAX_ANSWER: Final = 2 * 1024 * 1024
#: What tells services apart: a counter that only this one has.
_MARKS: Final = {
    "headgate_frames_sent_total": "gateway",
    "headgate_archived_total": "processors",
    "headgate_router_repeats_total": "egress",
}
_HANDLED: Final = "headgate_handled_total"
_APPEND: Final = "headgate_append_seconds"
_ASKED: Final = "headgate_application_seconds"

Samples = dict[str, dict[str, float]]
"""By series' names: the sum over all labels under ``""``, and for buckets the sum by `le`."""


@dataclass(slots=True)
class Service:
    """One operator listener."""

    url: str
    """As it may be shown."""
    name: str = "service"
    problems: list[str] = field(default_factory=lambda: ["was not asked yet"])
    """Why it is not ready; empty when it is."""
    warnings: list[str] = field(default_factory=list)
    history: deque[tuple[float, Samples]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def rate(self, series: str) -> float | None:
        """How much a counter rose a second in the time that is remembered; None: it is not known."""
        if len(self.history) < 2:
            return None
        (before, old), (now, new) = self.history[0], self.history[-1]
        if series not in new:
            return None
        return max(0.0, new[series].get("", 0.0) - old.get(series, {}).get("", 0.0)) / (now - before)

    @property
    def handled(self) -> float | None:
        """Entries a second that its groups handled."""
        return self.rate(_HANDLED)

    @property
    def append_ms(self) -> float | None:
        """Milliseconds within which 95 of 100 frames were confirmed."""
        return self._quantile(_APPEND, 0.95)

    @property
    def asked_ms(self) -> float | None:
        """Milliseconds within which the application answered 95 of 100 requests."""
        return self._quantile(_ASKED, 0.95)

    def _quantile(self, family: str, share: float) -> float | None:
        """A bound of the histogram's buckets, in ms, over the time that is remembered; None: nothing was measured."""
        if len(self.history) < 2:
            return None
        old, new = (self.history[place][1].get(f"{family}_bucket", {}) for place in (0, -1))
        risen = sorted((float(bound), count - old.get(bound, 0.0)) for bound, count in new.items() if bound)
        if not risen or risen[-1][1] <= 0:
            return None
        return next(1000 * bound for bound, count in risen if count >= share * risen[-1][1])


class Services:
    """Asks every service again and again; a Component."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises ConfigurationError for what is no URL."""
        for url in urls:
            if not _is_base(url):
                raise ConfigurationError(
                    f"HEADGATE_CONSOLE_SERVICES: {mask_url(url)[:80]!r} is no base URL such as http://127.0.0.1:9101"
                )
        self._urls = [url.rstrip("/") for url in urls]
        self.all = [Service(mask_url(url)) for url in self._urls]
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        if self._urls:
            self._task = asyncio.create_task(self._run(), name="services")

    async def stop(self) -> None:
        """End."""
        await cancel(self._task)
        await self._client.aclose()

    async def _run(self) -> None:
        while True:
            await asyncio.gather(*(self._ask(url, one) for url, one in zip(self._urls, self.all, strict=True)))
            await asyncio.sleep(TICK_S)

    async def _ask(self, url: str, service: Service) -> None:
        try:
            health = orjson.loads(await self._text(f"{url}/health/ready"))
            service.problems = [str(one) for one in health["problems"]]
            service.warnings = [str(one) for one in health["warnings"]]
            samples = _samples(await self._text(f"{url}/metrics"))
        except httpx.HTTPError as error:
            service.problems, service.warnings = [f"does not answer ({type(error).__name__})"], []
        except (ValueError, KeyError, TypeError):
            service.problems, service.warnings = ["answers with something else than a service's health"], []
        else:
            service.name = next((name for mark, name in _MARKS.items() if mark in samples), service.name)
            service.history.append((time.monotonic(), samples))

    async def _text(self, url: str) -> str:
        body = b""
        async with self._client.stream("GET", url) as answer:
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise ValueError("longer than health or metrics are")
        return body.decode()


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _samples(text: str) -> Samples:
    found: Samples = {}
    families: Any = text_string_to_metric_families(text)
    for family in families:
        for sample in family.samples:
            by_bound = found.setdefault(sample.name, {})
            bound = sample.labels.get("le", "")
            by_bound[bound] = by_bound.get(bound, 0.0) + sample.value
    return found
