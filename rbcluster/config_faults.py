"""What is wrong with a cluster.toml, in words: the key path, what was found, the rule.

Not here: the rules of single values, which are the models' (`config.py`).

Overview::

    relation_faults    rules between keys: duplicates, keys without use, names that don't exist
    describe           one fault that pydantic found
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rbcluster.core.state import Role
from rbcluster.endpoint import HostPort
from rbcluster.tor.settings import Identity, TorMode

KnownKeys = Callable[[tuple[int | str, ...]], list[str]]
"""Lists the keys of the table that a place lies in."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def relation_faults(raw: Mapping[str, Any]) -> Iterator[str]:
    """Find rules between keys that are broken.

    It looks at the raw tables, so that these faults are reported together with those of single
    values; what is not even of the right shape is left to the models.
    """
    nodes, services = _tables(raw, "node"), _tables(raw, "service")
    yield from _duplicates("node", "name", nodes)
    yield from _duplicates("node", "address", nodes)
    yield from _duplicates("service", "name", services)
    yield from _duplicates("service", "address", services)
    yield from _duplicates("service", "hidden_service_dir", services, spell=os.path.normpath)
    if nodes and all(node.get("role") == Role.LEARNER.value for _, node in nodes):
        yield "node: every node is a learner: at least one must be a voter"
    yield from _foreign_founder(raw, nodes)
    names = [str(service.get("name")) for _, service in services]
    for index, node in nodes:
        ports = node.get("ports")
        for name in ports if isinstance(ports, dict) else ():
            if name not in names:
                known = ", ".join(map(repr, names)) or "none"
                place = _key_path(("node", index, "ports", name))
                yield f"{place}: no service has this name: there is {known}"
    yield from _misplaced_tor_keys(raw, nodes)
    yield from _mixed_identities(raw, services)
    yield from _wrong_backends(services)
    yield from _unreachable_onions(raw, nodes)


def _foreign_founder(
    raw: Mapping[str, Any], nodes: list[tuple[int, dict[str, Any]]]
) -> Iterator[str]:
    cluster = raw.get("cluster")
    founder = cluster.get("founder") if isinstance(cluster, dict) else None
    voters = [node.get("name") for _, node in nodes if node.get("role") != Role.LEARNER.value]
    if founder is not None and founder not in voters:
        yield f"cluster.founder: no voter has this name: there is {', '.join(map(repr, voters))}"


def _tables(raw: Mapping[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    value = raw.get(key)
    entries = enumerate(value if isinstance(value, list) else ())
    return [(index, entry) for index, entry in entries if isinstance(entry, dict)]


def _spell_address(value: str) -> str:
    """Spell a name or an address in one way."""
    try:
        return str(HostPort.parse(value))
    except ValueError:
        return value.lower().removesuffix(".onion")


def _duplicates(
    table: str,
    key: str,
    entries: list[tuple[int, dict[str, Any]]],
    spell: Callable[[str], str] = _spell_address,
) -> Iterator[str]:
    """Find values given twice, also where they are spelled in two ways."""
    seen: dict[str, int] = {}
    for index, entry in entries:
        if not isinstance(value := entry.get(key), str):
            continue
        first = seen.setdefault(spell(value), index)
        if first != index:
            yield (
                f"{table}[{index}].{key}: {entry[key]!r} is that of {table}[{first}] too: "
                f"each {table} needs its own"
            )


def _unreachable_onions(
    raw: Mapping[str, Any], nodes: list[tuple[int, dict[str, Any]]]
) -> Iterator[str]:
    """Find what is missing for nodes whose address is an onion service."""
    onions = [(i, n) for i, n in nodes if ".onion:" in str(n.get("address")).lower()]
    for index, node in onions:
        if "listen" not in node:
            yield (
                f"node[{index}].listen: is missing: its address is an onion service, so say where "
                'that leads, as in "127.0.0.1:7300"'
            )
    transport = raw.get("transport", {})
    if onions and isinstance(transport, dict) and "via" not in transport:
        yield (
            "transport.via: is missing: nodes with onion addresses are dialled through a tor's "
            'SOCKS port, as in "socks5://127.0.0.1:9150"'
        )
    cluster = raw.get("cluster")
    profile = cluster.get("profile", "lan") if isinstance(cluster, dict) else None
    if onions and profile in {"lan", "wan"}:
        yield (
            f'cluster.profile: "{profile}" is too impatient for nodes with onion addresses: '
            'write profile = "onion"'
        )


def _wrong_backends(services: list[tuple[int, dict[str, Any]]]) -> Iterator[str]:
    """Find services that nobody answers for, and backends that are no backends."""
    served = {_spell_address(str(service.get("address"))): index for index, service in services}
    for index, service in services:
        backends = _tables(service, "backend")
        if "ports" not in service and not backends:
            yield (
                f"service[{index}].ports: is missing: give at least one, or a [[service.backend]] "
                "that answers in place of the nodes"
            )
        yield from _duplicates(f"service[{index}].backend", "address", backends)
        for number, backend in backends:
            address = _spell_address(str(backend.get("address")))
            if address in served:
                yield (
                    f"service[{index}].backend[{number}].address: is that of "
                    f"service[{served[address]}]: a backend has an address of its own"
                )


def _mixed_identities(
    raw: Mapping[str, Any], services: list[tuple[int, dict[str, Any]]]
) -> Iterator[str]:
    """Find services whose identity is not that of the first: one tor serves them all."""
    cluster = raw.get("cluster")
    common = cluster.get("identity") if isinstance(cluster, dict) else None
    stated = [
        (index, service.get("identity", common or Identity.SHARED.value))
        for index, service in services
    ]
    for index, identity in stated:
        if identity != (first := stated[0][1]):
            yield (
                f'service[{index}].identity: is "{identity}", that of service[{stated[0][0]}] '
                f'"{first}": a node\'s tor publishes either all of its services or none, so all '
                "must be the same: state it once, as cluster.identity"
            )


def _misplaced_tor_keys(
    raw: Mapping[str, Any], nodes: list[tuple[int, dict[str, Any]]]
) -> Iterator[str]:
    """Find keys that the mode in force would silently ignore."""
    common = raw.get("tor")
    base = common if isinstance(common, dict) else {}
    mode = base.get("mode", TorMode.MANAGED.value)
    tables = [("tor", base, mode)]
    for index, node in nodes:
        if isinstance(own := node.get("tor"), dict):
            tables.append((f"node[{index}].tor", own, own.get("mode", mode)))
    used_in = {
        "control": TorMode.SYSTEM,
        "password_file": TorMode.SYSTEM,
        "binary": TorMode.MANAGED,
        "extra": TorMode.MANAGED,
    }
    for place, table, in_force in tables:
        for key, needed in used_in.items():
            other = TorMode.MANAGED if needed is TorMode.SYSTEM else TorMode.SYSTEM
            if key in table and in_force == other.value:
                yield f'{place}.{key}: has no use with mode = "{other.value}": remove one of them'


_LISTS = (("node",), ("service",))  # places of tables that may be repeated
_SHAPES = {  # TOML's words for what pydantic calls by Python's
    "model_type": "it should be a table",
    "dict_type": "it should be a table",
    "tuple_type": 'it should be a list: ["...", "..."], or tables under [[two brackets]]',
    "string_type": "it should be text in quotes",
    "path_type": "it should be a path in quotes",
}


def describe(fault: Any, known_keys: KnownKeys) -> str:
    """Put one fault that pydantic found into words: key path, what was found, the rule."""
    place = _key_path(fault["loc"])
    if fault["type"] == "extra_forbidden":  # its value may be a secret put in the wrong place
        return f"{place}: unknown key: known here are {', '.join(known_keys(fault['loc']))}"
    if fault["type"] == "missing" and fault["loc"] in _LISTS:
        return f"{place}: there is none: give at least one, as a table [[{place}]]"
    if fault["type"] == "missing":
        return f"{place}: is missing: it must be given"
    if fault["type"] == "value_error":  # one of our rules: it names what it found
        return f"{place}: {fault['ctx']['error']}"
    found = repr(fault["input"])
    shown = found if len(found) <= 60 else found[:57] + "..."  # noqa: PLR2004 - keeps to one line
    rule = _SHAPES.get(fault["type"], fault["msg"].replace("Input should", "it should"))
    return f"{place}: {shown} found: {rule}"


def _key_path(parts: tuple[int | str, ...]) -> str:
    """Spell a place as TOML does; a key that is no bare one is quoted."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if _BARE_KEY.fullmatch(part) else f".{part!r}"
    return path.removeprefix(".")
