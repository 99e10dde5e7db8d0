"""The stream of the CONNECT request: it stands for the session, and capsules on it end the session."""

from __future__ import annotations

from typing import Final

from aioquic.h3.events import Headers

from ingress.webtransport import private
from ingress.webtransport.capsules import Capsule, CapsuleReader, Close, Drain, encode
from ingress.webtransport.codes import H3Error
from ingress.webtransport.errors import CapsuleError
from ingress.webtransport.events import DrainReceived, SessionClosed
from ingress.webtransport.private import BoundedQuicConnection, WebTransportH3Connection
from ingress.webtransport.streams import SessionStreams

#: Bytes that may come before the request is answered, as a client may send capsules with it.
MAX_EARLY_BYTES: Final = 4096


class ConnectStream:
    """Reads and writes the CONNECT stream. What comes too late to be sent is not sent."""

    def __init__(
        self,
        stream_id: int,
        quic: BoundedQuicConnection,
        h3: WebTransportH3Connection,
        streams: SessionStreams,
    ) -> None:
        self.stream_id = stream_id
        self._quic = quic
        self._h3 = h3
        self._streams = streams
        self._capsules = CapsuleReader()
        self._answered = self._accepted = False
        self._early = bytearray()
        self._early_end = False

    def receive(self, data: bytes, ended: bool) -> list[DrainReceived | SessionClosed]:
        """What the client says with the next bytes, or by ending the stream (code 0 and no reason).

        Malformed capsules, and data after CLOSE, abort the stream (RFC 9297, section 3.3; draft, section 6). Before
        the answer nothing is read; after a refusal nothing ever is (draft, section 3.2).
        """
        if not self._accepted:
            return [] if self._answered else self._keep(data, ended)
        facts: list[DrainReceived | SessionClosed] = []
        try:
            for capsule in self._capsules.feed(data):
                facts.append(_fact(capsule))
            if ended:
                self._capsules.end()
                facts.append(SessionClosed(0, ""))
        except CapsuleError as error:
            facts.append(self.violated(str(error)))
        return facts

    def _keep(self, data: bytes, ended: bool) -> list[DrainReceived | SessionClosed]:
        self._early += data
        self._early_end = ended
        if len(self._early) <= MAX_EARLY_BYTES:
            return []
        return [self.violated("the client sent too much before the answer", H3Error.EXCESSIVE_LOAD)]

    def violated(self, reason: str, error: H3Error = H3Error.MESSAGE_ERROR) -> SessionClosed:
        """Abort the stream after the client broke the rules for it."""
        self._streams.abort(self.stream_id, error)
        return SessionClosed(0, reason, abrupt=True)

    def accept(self, headers: Headers) -> list[DrainReceived | SessionClosed]:
        """Answer the request with these headers, and return what the client has said meanwhile."""
        self._answer(headers, end_stream=False)
        self._accepted = True
        early, self._early = bytes(self._early), bytearray()
        return self.receive(early, self._early_end) if early or self._early_end else []

    def refuse(self, headers: Headers) -> None:
        """Answer the request with these headers alone."""
        self._answer(headers, end_stream=True)
        self._early.clear()

    def _answer(self, headers: Headers, *, end_stream: bool) -> None:
        self._answered = True
        if self._h3.can_send(self.stream_id):
            self._h3.send_headers(self.stream_id, headers, end_stream)

    def drain(self) -> None:
        """Ask the client to bring the session to an end."""
        if self._h3.can_send(self.stream_id):
            self._h3.send_data(self.stream_id, encode(Drain()), end_stream=False)

    def close(self, code: int, reason: str) -> None:
        """End the session and the stream. Raises OverflowError when the code does not fit 32 bits."""
        capsule = encode(Close(code, reason))
        if self._h3.can_send(self.stream_id):
            self._h3.send_data(self.stream_id, capsule, end_stream=True)

    def finish(self) -> None:
        """End the stream, unless it is ended."""
        self._streams.send(self.stream_id, b"", end_stream=True)

    @property
    def is_over(self) -> bool:
        """Whether both sides have ended the stream, and the client is known to have all of it."""
        return not self._h3.can_receive(self.stream_id) and private.is_delivered(self._quic, self.stream_id)


def _fact(capsule: Capsule) -> DrainReceived | SessionClosed:
    return SessionClosed(capsule.code, capsule.reason) if isinstance(capsule, Close) else DrainReceived()
