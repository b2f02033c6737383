"""A configuration as the text of a cluster.toml: what a cluster or a new node begins with."""

from __future__ import annotations

from collections.abc import Iterator

from rbcluster.config import Config, NodeConfig, PublishConfig
from rbcluster.core.state import Role
from rbcluster.tor.settings import Identity


def encode_config(config: Config) -> str:
    """Write a cluster.toml. Checked values need no escapes but those of a quoted path.

    What only one node has (its tor, its folders) is not written.
    """
    lines = [
        "# The same file on every node; cluster.toml.example explains every key.",
        "",
        "[cluster]",
        f'name = "{config.cluster.name}"',
        f'id = "{config.cluster.id}"',
        f'profile = "{config.cluster.profile.value}"',
    ]
    if config.identity is not Identity.SHARED:
        lines.append(f'identity = "{config.identity.value}"')
    if config.cluster.founder is not None:
        lines.append(f'founder = "{config.cluster.founder}"')
    if not config.cluster.fsync:
        lines.append("fsync = false")
    if config.transport.via is not None:
        lines += ["", "[transport]", f'via = "socks5://{config.transport.via}"']
    for node in config.nodes:
        lines += ["", *_node(node)]
    for service in config.services:
        lines += ["", "[[service]]", f'name = "{service.name}"', f'address = "{service.address}"']
        if service.ports:
            lines.append(f"ports = [{', '.join(_quoted(str(port)) for port in service.ports)}]")
        for backend in service.backends:
            lines += ["", "[[service.backend]]", f'address = "{backend.address}"']
    if changed := tuple(_publish(config.publish)):
        lines += ["", "[publish]", *changed]
    return "\n".join([*lines, ""])


def _publish(publish: PublishConfig) -> Iterator[str]:
    for key, default in PublishConfig():
        if (value := getattr(publish, key)) != default:
            yield f"{key} = {value}"


def _node(node: NodeConfig) -> Iterator[str]:
    yield "[[node]]"
    yield f'name = "{node.name}"'
    yield f'address = "{node.address}"'
    if node.listen is not None:
        yield f'listen = "{node.listen}"'
    if node.role is Role.LEARNER:
        yield 'role = "learner"'
    if node.weight != 1:
        yield f"weight = {node.weight}"
    if node.issuer:
        yield "issuer = true"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
