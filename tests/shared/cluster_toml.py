"""A small cluster.toml, and what is said of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rbcluster.config import (
    Config,
    parse_config,
)
from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError

ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
BASE = Path("/etc/rbcluster")
SMALL = f"""
[cluster]
name = "small"
[[node]]
name = "a"
address = "192.0.2.1:7300"
[[node]]
name = "b"
address = "192.0.2.2:7300"
[[service]]
name = "web"
address = "{ADDRESS}"
ports = ["80 127.0.0.1:8080"]
"""
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
SERVICE = SMALL[SMALL.index("[[service]]") :]


def parse(text: str) -> Config:
    return parse_config(tomllib.loads(text), base=BASE)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [line.removeprefix("cluster.toml: ") for line in str(caught.value).splitlines()]
