"""Where this node's cluster.toml says something else than the cluster has agreed on.

A cluster.toml only founds the cluster; afterwards the replicated state is the truth. What differs
is shown, never silently applied, and never silently ignored either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from rbcluster.config import PublishConfig
from rbcluster.core.commands import SeedCluster
from rbcluster.core.state import BackendKey, ClusterState, Member, Policy

K = TypeVar("K")


def differences(seed: SeedCluster, state: ClusterState) -> tuple[str, ...]:
    """Name every setting that differs; none before the cluster is founded.

    :param seed: how this node's cluster.toml would found the cluster.
    """
    if not state.is_seeded:
        return ()
    members = {member.node: member for member in seed.members}
    return (
        *_values("cluster.name", seed.name, state.name),
        *_policy(seed.policy, state.policy),
        *(f"node {name} is not in the cluster" for name in members.keys() - state.members.keys()),
        *_names("service", seed.services, state.services),
        *_names("backend", _backends(seed.backends), _backends(state.backends)),
        *(
            difference
            for node in sorted(members.keys() & state.members.keys())
            for difference in _member(members[node], state.members[node])
        ),
    )


def _policy(ours: Policy, agreed: Policy) -> Iterator[str]:
    stated = PublishConfig.from_policy(agreed)
    for key, value in PublishConfig.from_policy(ours):
        yield from _values(f"publish.{key}", value, getattr(stated, key))


def _member(ours: Member, agreed: Member) -> Iterator[str]:
    """Compare the one thing that a cluster.toml says of a member for good.

    Who is a member, with or without a vote, and where, changes by commands: there, a file that
    says what once was is none to be mended.
    """
    yield from _values(f"node {agreed.node}: weight", ours.weight, agreed.weight)


def _names(what: str, ours: Mapping[K, object], agreed: Mapping[K, object]) -> Iterator[str]:
    for name in ours.keys() - agreed.keys():
        yield f"{what} {name} is not in the cluster"
    for name in agreed.keys() - ours.keys():
        yield f"{what} {name} of the cluster is missing"


def _backends(keys: Iterable[BackendKey]) -> Mapping[str, object]:
    return dict.fromkeys(f"{backend.label} of {service.label}" for service, backend in keys)


def _values(key: str, ours: object, agreed: object) -> Iterator[str]:
    if ours != agreed:
        yield f"{key} is {ours}, the cluster has {agreed}"
