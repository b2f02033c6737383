"""What the rules of `apply` have in common: how one is broken, and what many of them ask.

Not here: any rule about one command (`apply.py`, `operator_rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from rbcluster.core.ids import NodeId, Term
from rbcluster.core.state import ClusterState, Member, Office

K = TypeVar("K")
V = TypeVar("V")


class RuleBrokenError(Exception):
    """A command may not be applied; the text is the rule."""


def require(holds: bool, rule: str) -> None:
    """Raise the rule unless it holds."""
    if not holds:
        raise RuleBrokenError(rule)


def find_member(state: ClusterState, node: NodeId) -> Member:
    """Find a member by its name."""
    member = state.members.get(node)
    if member is None:
        raise RuleBrokenError(f"{node} is no member")
    return member


def require_office(state: ClusterState, node: NodeId, term: Term) -> None:
    """Require that a node holds the office it speaks for."""
    require(state.office == Office(node=node, term=term), f"{node} holds no office in term {term}")


def with_entry(entries: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    """Return a map with one entry set."""
    return MappingProxyType({**entries, key: value})
