"""Several gateway processes on one UDP port: each connection stays with one, also when its client's address changes.

The kernel spreads packets over the sockets of a port by addresses, so a client behind a NAT that gives it a new port
would reach another process, which does not know its connection. A connection id names its process instead: its first
byte, modulo their number, is the process's index. A program in the kernel reads it
(https://man7.org/linux/man-pages/man7/socket.7.html, SO_ATTACH_REUSEPORT_CBPF).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import struct
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from schemas.errors import ConfigurationError

#: Bytes of the connection ids that are chosen here.
ID_BYTES: Final = 8
#: AES-128.
_RETRY_KEY_BYTES: Final = 16
_SOCKET_BUFFER: Final = 4 * 1024 * 1024
#: The socket module does not name it; this is Linux's number.
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_VARIABLE: Final = "HEADGATE_INGRESS_PLACE"

# Instructions of classic BPF (linux/bpf_common.h).
_LOAD_BYTE: Final = 0x30
_JUMP_IF_SET: Final = 0x45
_JUMP: Final = 0x05
_MODULO: Final = 0x94
_RETURN_ACCUMULATOR: Final = 0x16


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes on one UDP port this one is; by default the only one."""

    index: int = 0
    count: int = 1
    descriptor: int | None = None
    """The open file of its socket, made by the parent; None when it has to bind one itself."""
    retry_key: bytes = field(default_factory=lambda: secrets.token_bytes(_RETRY_KEY_BYTES), repr=False)
    """Seals Retry tokens. Shared, so that a token is good for a process that was started after it was given."""

    def new_id(self) -> bytes:
        """A connection id that leads here: random but for the remainder of its first byte."""
        choices = len(range(self.index, 256, self.count))
        first = self.index + self.count * secrets.randbelow(choices)
        return bytes([first]) + secrets.token_bytes(ID_BYTES - 1)

    def leads_here(self, connection_id: bytes) -> bool:
        """Whether a connection id is one of this process's."""
        return connection_id[0] % self.count == self.index

    def socket(self) -> socket.socket:
        """The socket that the parent made. Its port stays bound while the parent lives."""
        sock = socket.socket(fileno=self.descriptor)
        sock.setblocking(False)
        return sock

    def environment(self) -> Mapping[str, str]:
        """What a child needs to find its place. Not for a command line, which others on the machine can read."""
        return {_VARIABLE: f"{self.index}/{self.count}/{self.descriptor}/{self.retry_key.hex()}"}

    @classmethod
    def inherited(cls, environment: MutableMapping[str, str] = os.environ) -> Self | None:
        """The place that the parent gave this process, taken out of the environment; None without such a parent."""
        given = environment.pop(_VARIABLE, None)
        if given is None:
            return None
        index, count, descriptor, retry_key = given.split("/")
        return cls(int(index), int(count), int(descriptor), bytes.fromhex(retry_key))


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A UDP socket that does not block; for "::" one that takes IPv4 too. `shared` joins others on the port.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # As much of it as the system allows.
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bind_all(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one port, the index of each its place in the kernel's group too. Raises OSError.

    The first is bound alone and shares the port only then: if another program has it, shared or not, this fails
    and does not mix with it.
    """
    first = bind(host, port)
    with contextlib.ExitStack() as on_error:
        on_error.callback(first.close)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sockets = [first]
        for _ in range(count - 1):
            sockets.append(bind(host, first.getsockname()[1], shared=True))
            on_error.callback(sockets[-1].close)
        on_error.pop_all()
    return sockets


def steer(sockets: Sequence[socket.socket]) -> None:
    """Have the kernel hand each packet to the socket that its connection id names.

    Raises ConfigurationError where the system cannot.
    """
    program = _program(len(sockets))
    memory = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, of 8 bytes each, and where they are.
    attachment = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    try:
        # Any of the group will do, but not the first: it was bound before there was a group.
        sockets[-1].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, attachment)
    except OSError as error:
        raise ConfigurationError(
            f"this kernel does not take SO_ATTACH_REUSEPORT_CBPF ({error.strerror}): set HEADGATE_INGRESS_WORKERS to 1"
        ) from error


def check_platform() -> None:
    """Raise ConfigurationError where one port cannot be shared by processes."""
    if sys.platform != "linux":
        raise ConfigurationError(
            "several workers on one UDP port need Linux, which steers packets by connection id: "
            "set HEADGATE_INGRESS_WORKERS to 1, or run gateways on several ports"
        )


def _program(count: int) -> bytes:
    """The first byte of the destination connection id, modulo `count` (RFC 8999, section 5).

    Offsets count from the packet's first byte after the UDP header. A packet that is too short gives 0.
    """
    instructions = (
        (_LOAD_BYTE, 0, 0, 0),
        (_JUMP_IF_SET, 0, 2, 0x80),
        (_LOAD_BYTE, 0, 0, 6),  # Long header: after flags, four bytes of version, and the length of the id.
        (_JUMP, 0, 0, 1),
        (_LOAD_BYTE, 0, 0, 1),  # Short header: right after the flags.
        (_MODULO, 0, 0, count),
        (_RETURN_ACCUMULATOR, 0, 0, 0),
    )
    return b"".join(struct.pack("@HBBI", *instruction) for instruction in instructions)
