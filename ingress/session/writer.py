"""What a session writes: which stream, which encoding, at once or with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingress.session.effects import CatchUp, Effect, OpenAndSend, Send, SendDatagram
from ingress.session.outgoing import Outgoing
from ingress.session.streams import ClientStream, ClientStreams
from schemas.codec import Encoding
from schemas.events import NO_STREAM


@dataclass(slots=True)
class Manner:
    """How the client wants to be written to; as its `auth` frame says."""

    protocol: int | None = None
    """None: an older client, which reads every push from a stream of its own."""
    batch: float = 0.0
    """Seconds that pushes may wait for company."""
    compress: bool = False
    datagrams: Encoding | None = None
    """What it speaks in datagrams; None until it sent one."""


class Writer:
    """Leaves Send, OpenAndSend, SendDatagram and CatchUp in `effects`."""

    def __init__(self, streams: ClientStreams, effects: list[Effect]) -> None:
        self.manner = Manner()
        self.control = NO_STREAM
        """The client's control stream: its first bidirectional one, then the one that `auth` came on."""
        self._streams = streams
        self._effects = effects
        self._waiting: list[Outgoing] = []

    @property
    def flush_after(self) -> float | None:
        """When pushes wait: how long the first of them may, in seconds."""
        return self.manner.batch if self._waiting else None

    def answer(self, stream_id: int, frame: dict[str, Any] | Outgoing, *, final: bool = True) -> None:
        """Write to the stream that asked; where that is gone or cannot be written, push.

        What waits goes first: an answer never overtakes a push. `final`: nothing more answers the same frame.
        """
        outgoing = frame if isinstance(frame, Outgoing) else Outgoing(frame)
        stream = self._streams.writable(stream_id)
        if stream is None:
            self.push(outgoing)
            return
        self.flush()
        data = self._encoded(outgoing, stream.encoding)
        self._effects.append(Send(stream_id, data, frame=outgoing.frame))
        if final:
            self._streams.answered(stream)
            self.finish(stream)

    def push(self, outgoing: Outgoing) -> None:
        """Write where this client expects pushes: on its control stream, or an older client on a new one."""
        if self.manner.batch:
            self._waiting.append(outgoing)
        else:
            self._push_now(outgoing)

    def catch_up(self) -> None:
        """Say that what is written next is what the client missed, and much of it no fault of its own.

        Older clients get no pings, at which one that does not read would be found out.
        """
        if self.manner.protocol is not None:
            self._effects.append(CatchUp())

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for outgoing in waiting:
            self._push_now(outgoing)

    def datagram(self, outgoing: Outgoing) -> None:
        """Send unreliably, in what the client speaks in datagrams, or was seen to speak otherwise."""
        default: Encoding = "msgpack" if self.manner.protocol is None else self._control_encoding()
        self._effects.append(SendDatagram(outgoing.encoded(self.manner.datagrams or default)))

    def finish(self, stream: ClientStream) -> None:
        """End our side of a stream that the client ended, once every answer was given."""
        if self._streams.finished(stream):
            self.end(stream)

    def end(self, stream: ClientStream) -> None:
        """End our side of a stream; the control stream stays open for pushes."""
        if stream.id == self.control:
            stream.finish_at = None
            return
        if stream.writable:
            self._effects.append(Send(stream.id, b"", end=True))
        self._streams.forget(stream.id)

    def _push_now(self, outgoing: Outgoing) -> None:
        data = self._encoded(outgoing, self._control_encoding())
        if self.manner.protocol is not None and self._streams.writable(self.control):
            self._effects.append(Send(self.control, data, frame=outgoing.frame))
        else:
            self._effects.append(OpenAndSend(data, frame=outgoing.frame))

    def _encoded(self, outgoing: Outgoing, encoding: Encoding) -> bytes:
        placed = self.manner.protocol is not None
        return outgoing.encoded(encoding, compress=self.manner.compress, placed=placed)

    def _control_encoding(self) -> Encoding:
        stream = self._streams.writable(self.control)
        return stream.encoding if stream else "json"
