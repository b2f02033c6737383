"""Whose storage a directory is: what stands in the journal's header and is checked at every open.

Not here: who may vote. A node's incarnation is drawn with its storage, so a voter whose disk was
lost or set aside comes back with another one; the membership holds the one that may vote.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbcluster.core.ids import ClusterId, Incarnation, NodeId

IdentityWire = tuple[bytes, str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageIdentity:
    """The owner of a storage."""

    cluster: ClusterId
    node: NodeId
    incarnation: Incarnation  # drawn when the storage was founded; never changes afterwards

    def to_wire(self) -> IdentityWire:
        """Return the form that stands in a header."""
        return self.cluster.raw, self.node.name, self.incarnation.raw

    @classmethod
    def from_wire(cls, value: object) -> StorageIdentity:
        """Read what `to_wire` gave.

        :raises ValueError: if it is anything else.
        """
        match value:
            case (bytes(cluster), str(node), bytes(incarnation)):
                return cls(
                    cluster=ClusterId(cluster),
                    node=NodeId(node),
                    incarnation=Incarnation(incarnation),
                )
            case _:
                raise ValueError("it does not say whose it is")

    def difference(self, expected: StorageIdentity) -> str | None:
        """Say why this storage is not for the node that opens it; None if it is.

        :param expected: who opens it. Its incarnation is not compared: the storage's own is true.
        """
        if self.cluster != expected.cluster:
            return f"belongs to cluster {self.cluster}, not to {expected.cluster}"
        if self.node != expected.node:
            return f"belongs to node {self.node}, not to {expected.node}"
        return None
