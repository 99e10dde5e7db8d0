"""The Redis keys, and which partition something belongs to.

What must be changed together shares a hash tag, so that every script and transaction stays in one slot of a
Redis Cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32


def partition_of(key: str, partitions: int) -> int:
    """The partition of a session id or topic: CRC-32 (IEEE) of its UTF-8 bytes, modulo `partitions`."""
    return crc32(key.encode()) % partitions


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key Headgate uses, under one `prefix`."""

    prefix: str
    partitions: int

    def inbound(self, partition: int) -> str:
        """The inbound log of one partition."""
        return f"{self.prefix}{{in:{partition}}}"

    def inbound_of(self, session: str) -> str:
        """The inbound log that holds the events of `session`."""
        return self.inbound(partition_of(session, self.partitions))

    def outbound(self, partition: int) -> str:
        """The outbound log of one partition."""
        return f"{self.prefix}{{out:{partition}}}"

    def outbound_of(self, topic: str) -> str:
        """The outbound log that orders what is published to `topic`."""
        return self.outbound(partition_of(topic, self.partitions))

    @staticmethod
    def datagrams(log: str) -> str:
        """The datagram log beside `log`: same entries, its own short retention."""
        return f"{log}:datagrams"

    @staticmethod
    def dead(log: str) -> str:
        """The dead letters of `log`, in its slot so that a letter and its acknowledgement are one transaction."""
        return f"{log}:dead"

    @staticmethod
    def trail(log: str) -> str:
        """What became of the entries of `log`: one entry for each that a processor or the router has settled."""
        return f"{log}:trail"

    @staticmethod
    def lease(log: str, group: str) -> str:
        """Who may read `log` for `group`."""
        return f"{log}:lease:{group}"

    @staticmethod
    def lease_reader(log: str, group: str) -> str:
        """Which connection reads `log` for `group` under the lease."""
        return f"{log}:lease:{group}:reader"

    @staticmethod
    def attempts(log: str, group: str) -> str:
        """Attempts of `group` at entries of `log` that are not settled (hash: stream id -> count)."""
        return f"{log}:attempts:{group}"

    @staticmethod
    def epoch(log: str) -> str:
        """The epoch of `log`, where it can be lost without the others."""
        return f"{log}:epoch"

    def members(self, group: str) -> str:
        """The processes that consume for `group`, by the time of their last sign of life (sorted set: name -> ms)."""
        return f"{self.prefix}group:{{{group}}}"

    @staticmethod
    def session_state(log: str, group: str, session: str) -> str:
        """What is remembered of one session for one processor, in the slot of the session's inbound log."""
        return f"{log}:{group}:{session}"

    @staticmethod
    def connected(log: str, gateway: str) -> str:
        """The sessions in `log` that are connected to a gateway (hash: id -> generation of the connection)."""
        return f"{log}:connected:{gateway}"

    @staticmethod
    def connected_gateways(log: str) -> str:
        """The gateways that have such sessions in `log` (set)."""
        return f"{log}:connected"

    @staticmethod
    def disconnected(log: str) -> str:
        """The sessions in `log` without a connection, by when they end unless resumed (sorted set: id -> Unix ms)."""
        return f"{log}:disconnected"

    def sessions(self, partition: int) -> str:
        """Directory of live sessions whose session topic is in this outbound partition (hash: id -> JSON)."""
        return f"{self.outbound(partition)}:sessions"

    def sessions_at(self, partition: int) -> str:
        """Stream id of the last entry of this outbound partition that its directory of live sessions was told of."""
        return f"{self.sessions(partition)}:at"

    def sessions_of(self, topic: str) -> str:
        """The directory that lists the session of a session topic."""
        return self.sessions(partition_of(topic, self.partitions))

    def topic(self, topic: str, part: str) -> str:
        """One part (state, history, seen, subscribers, gateways, members) of what the router keeps of a topic."""
        return f"{self.prefix}{{{topic}}}:{part}"

    def delivery(self, gateway: str) -> str:
        """The delivery stream of one gateway."""
        return f"{self.prefix}gw:{{{gateway}}}"

    def channels(self, partition: int) -> str:
        """Channels in this outbound partition that have subscribers (hash: name -> stream id of the latest grant)."""
        return f"{self.outbound(partition)}:occupied"

    def gateways(self) -> str:
        """Gateways by the time of their last sign of life, 0 of a lost one (sorted set: id -> ms)."""
        return f"{self.prefix}gateways"

    def removed_groups(self) -> str:
        """Groups that an operator removed, so that no log is kept for them (set)."""
        return f"{self.prefix}groups:removed"

    def nonce(self, key_id: str, nonce: str) -> str:
        """A request nonce that was used."""
        return f"{self.prefix}nonce:{{{key_id}}}:{nonce}"

    def requests(self, key_id: str) -> str:
        """Requests that a signing key has made in its minute, in the slot of its nonces."""
        return f"{self.prefix}requests:{{{key_id}}}"

    def repeat(self, key_id: str, signature: str) -> str:
        """A request of Pusher's API that was carried out."""
        return f"{self.prefix}repeat:{key_id}:{signature}"

    def meta(self) -> str:
        """What was fixed at the first start, and the number of erasures (hash: partitions, epoch, erasures)."""
        return f"{self.prefix}meta"

    def operators(self) -> str:
        """What operators did in the web console and on a command line (stream)."""
        return f"{self.prefix}operators"

    def control(self) -> str:
        """Commands from operators to every process."""
        return f"{self.prefix}control"
