"""The twin of a Redis server: keys, clients, transactions, reads that block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import hiredis

from tests.simulation.twin import commands, stream_commands
from tests.simulation.twin.lua import Scripts
from tests.simulation.twin.resp import OK, Failure, Status
from tests.simulation.twin.store import Store
from tests.simulation.twin.stream_commands import Blocked

Command = Callable[[Store, list[bytes]], Any]
COMMANDS: Final[dict[bytes, Command]] = {**commands.COMMANDS, **stream_commands.COMMANDS}


class Connection(Protocol):
    """The way to a client."""

    def send(self, answers: list[Any]) -> None:
        """Answers, as values: None, int, bytes, list, dict, Status or Failure."""

    def end(self) -> None:
        """No more answers."""


class Client:
    """What the server keeps of a connection."""

    def __init__(self, server: Server, number: int, connection: Connection) -> None:
        self.number = number
        self._server = server
        self._connection = connection
        self._reader = hiredis.Reader()
        self._waiting: list[list[bytes]] = []
        self.open = True
        self.transaction: list[list[bytes]] | None = None
        self.blocked: Blocked | None = None

    def received(self, data: bytes, commands: int | None = None) -> None:
        """Carry out what arrived, no more than `commands` of it; behind a read that blocks it waits."""
        if not self.open:
            return
        self._reader.feed(data)
        arrived: list[list[bytes]] = []
        while (command := self._reader.gets()) is not False:
            arrived.append(command)
        self._waiting += arrived if commands is None else arrived[:commands]
        self._go_on()

    def _go_on(self) -> None:
        answers = []
        while self._waiting and self.blocked is None and self.open:
            answer = self._server.carry_out(self, self._waiting.pop(0))
            if isinstance(answer, Blocked):
                self.blocked = answer
                self._server.block(self, answer)
            else:
                answers.append(answer)
        if answers:
            self._connection.send(answers)

    def unblock(self, answer: Any) -> None:
        """The read that blocked has its answer."""
        self.blocked = None
        self._connection.send([answer])
        self._go_on()

    def closed(self) -> None:
        """The client has closed its connection, or it broke."""
        self.open = False
        self._server.forget(self)

    def kill(self) -> None:
        """Close the connection from here."""
        self.closed()
        self._connection.end()


class Server:
    """One run of a server. `clock` gives Unix ms; `later` has something called at such a time."""

    def __init__(self, clock: Callable[[], int], later: Callable[[int, Callable[[], None]], None]) -> None:
        self.store = Store(clock)
        self.run_id = "a" * 40
        self.killed = 0
        self.refuses: Callable[[list[bytes]], bool] = lambda command: False
        """Whether there is no memory for a command."""
        self._later = later
        self._scripts = Scripts(self.call)
        self._clients: dict[int, Client] = {}
        self._blocked: dict[Client, Blocked] = {}
        self._last = 0

    def connect(self, connection: Connection) -> Client:
        """A client connects."""
        self._last += 1
        client = self._clients[self._last] = Client(self, self._last, connection)
        return client

    def forget(self, client: Client) -> None:
        """A connection is gone."""
        self._clients.pop(client.number, None)
        self._blocked.pop(client, None)

    def call(self, command: list[bytes]) -> Any:
        """Carry out a command of a script, or one of nobody; raises Failure."""
        try:
            carry_out = COMMANDS[command[0].upper()]
        except KeyError:
            raise Failure(f"ERR unknown command '{command[0].decode()}'") from None
        return carry_out(self.store, command[1:])

    def carry_out(self, client: Client, command: list[bytes]) -> Any:
        """The answer to a command of `client`."""
        name = command[0].upper()
        if client.transaction is not None and name != b"EXEC":
            client.transaction.append(command)
            return Status(b"QUEUED")
        try:
            if self.refuses(command):
                raise Failure("OOM command not allowed when used memory > 'maxmemory'.")
            answer = self._of_a_client(client, name, command)
        except Failure as failure:
            answer = failure
        self._serve()
        return answer

    def _of_a_client(self, client: Client, name: bytes, command: list[bytes]) -> Any:
        match name:
            case b"HELLO":
                return {b"server": b"redis", b"version": b"7.0.15", b"proto": 3, b"id": client.number}
            case b"CLIENT":
                return self._client(client, command[1:])
            case b"INFO":
                return f"# Server\r\nredis_version:7.0.15\r\nrun_id:{self.run_id}\r\n".encode()
            case b"PING":
                return Status(b"PONG")
            case b"MULTI":
                client.transaction = []
                return OK
            case b"EXEC":
                queued, client.transaction = client.transaction or [], None
                return [self._answer(one) for one in queued]
            case b"EVAL":
                return self._scripts.run(self._scripts.load(command[1]), command[2:])
            case b"EVALSHA":
                return self._scripts.run(command[1], command[2:])
            case b"SCRIPT" if command[1].upper() == b"LOAD":
                return self._scripts.load(command[2])
            case b"SCRIPT" if command[1].upper() == b"EXISTS":
                return [int(self._scripts.knows(sha)) for sha in command[2:]]
        return self.call(command)

    def _answer(self, command: list[bytes]) -> Any:
        try:
            return self.call(command)
        except Failure as failure:
            return failure

    def _client(self, client: Client, arguments: list[bytes]) -> Any:
        match arguments[0].upper():
            case b"ID":
                return client.number
            case b"KILL":
                options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
                other = self._clients.get(int(options[b"ID"]))
                if other is None:
                    return 0
                self.killed += 1
                other.kill()
                return 1
            case b"SETNAME" | b"SETINFO":
                return OK
        raise Failure("ERR unknown subcommand")

    def block(self, client: Client, read: Blocked) -> None:
        """Wait for what `client` reads, until its time is over."""
        self._blocked[client] = read
        self._later(self.store.now() + read.milliseconds, lambda: self._over(client, read))

    def _over(self, client: Client, read: Blocked) -> None:
        if self._blocked.get(client) is read:
            del self._blocked[client]
            client.unblock(None)

    def _serve(self) -> None:
        """Answer reads that waited for what was appended, the oldest first."""
        if not self.store.appended:
            return
        appended, self.store.appended = self.store.appended, {}
        for client, read in list(self._blocked.items()):
            if self._blocked.get(client) is not read or not appended.keys() & read.keys:
                continue
            try:
                answer = read.again(self.store)
            except Failure as failure:
                answer = failure
            if answer is not None:
                del self._blocked[client]
                client.unblock(answer)
