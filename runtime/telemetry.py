"""Spans from the browser's frame to the application and back.

The gateway samples; every entry carries a `traceparent`, and only those that say "sampled" cost a span. An unsampled
one costs a string comparison, so tracing can stay on.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from runtime.settings import Settings
from schemas.errors import ConfigurationError
from schemas.traceparent import TraceParent, is_sampled, parse

Attributes = Mapping[str, AttributeValue]


class FileSpanExporter(SpanExporter):
    """Appends one JSON object a span to a file; several processes may share it (each write is one line)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", buffering=1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write `spans`."""
        self._file.write("".join(json.dumps(json.loads(span.to_json(indent=None))) + "\n" for span in spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def _exporter(traces: str) -> SpanExporter | None:
    if traces == "none":
        return None
    if traces == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if traces.startswith("file:"):
        return FileSpanExporter(Path(traces.removeprefix("file:")))
    raise ConfigurationError(f"HEADGATE_TRACES is none, otlp or file:PATH, not {traces!r}")


class OpenSpan:
    """A span that was begun; `traceparent` is what its children are told."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, traceparent: str, span: trace.Span | None = None) -> None:
        self.traceparent = traceparent
        self._span = span

    @property
    def recorded(self) -> bool:
        """Whether it is one at all, and not only a traceparent to hand on."""
        return self._span is not None

    def note(self, name: str, value: AttributeValue) -> None:
        """Add an attribute; as with all of them, never what a client sent."""
        if self._span is not None:
            self._span.set_attribute(name, value)

    def end(self, error: str = "") -> None:
        """End it; `error` is a kind of failure, never a text that may hold what a client sent."""
        if self._span is not None:
            if error:
                self._span.set_status(StatusCode.ERROR, error)
            self._span.end()


class Telemetry:
    """Starts spans for one service; a Component."""

    def __init__(self, exporter: SpanExporter | None, service: str, sample: float = 1.0) -> None:
        self._sample = sample if exporter else 0.0
        self._provider: TracerProvider | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        if exporter:
            self._provider = TracerProvider(
                resource=Resource.create({"service.name": f"headgate-{service}"}), shutdown_on_exit=False
            )
            self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
            self._tracer = self._provider.get_tracer("headgate")

    @classmethod
    def from_settings(cls, settings: Settings, service: str) -> Telemetry:
        """As `HEADGATE_TRACES` says; raises ConfigurationError."""
        return cls(_exporter(settings.traces), service, settings.trace_sample)

    def begin(
        self,
        name: str,
        parent: str = "",
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> OpenSpan:
        """A span under the traceparent `parent`; the caller ends it. Without a parent it begins a trace.

        Whether a trace is sampled is drawn once, at its beginning. An unsampled span only hands `parent` on.
        """
        if not parent:
            if not self._sample or random.random() >= self._sample:
                return OpenSpan(f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00")
            span = self._tracer.start_span(name, context=Context(), kind=kind, attributes=attributes)
        else:
            remote = parse(parent) if self._provider and is_sampled(parent) else None
            if remote is None:
                return OpenSpan(parent)
            context = SpanContext(
                int(remote.trace_id, 16), int(remote.span_id, 16), is_remote=True, trace_flags=TraceFlags(1)
            )
            above = trace.set_span_in_context(NonRecordingSpan(context), Context())
            span = self._tracer.start_span(name, context=above, kind=kind, attributes=attributes)
        made = span.get_span_context()
        return OpenSpan(str(TraceParent(f"{made.trace_id:032x}", f"{made.span_id:016x}", True)), span)

    @contextmanager
    def span(
        self,
        name: str,
        parent: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Iterator[str]:
        """A span around a block; gives the traceparent to hand on (`parent` itself when unsampled)."""
        span = self.begin(name, parent, attributes, kind=kind)
        try:
            yield span.traceparent
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        span.end()

    async def start(self) -> None:
        """Nothing to bring up."""

    async def stop(self) -> None:
        """Export what is left; off the loop, since exporters block."""
        if self._provider:
            await asyncio.to_thread(self._provider.shutdown)
