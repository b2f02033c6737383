"""A configuration that is written as text is read as the same one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.config import Config, load_config, parse_config
from rbcluster.config_text import encode_config
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair

ONION = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
SERVICE = str(OnionAddress(IdentityKeypair.from_seed(bytes(32)).public))


def configured(**tables: object) -> Config:
    return parse_config(
        {
            "cluster": {"name": "test"},
            "node": [{"name": "a", "address": "192.0.2.1:7300"}],
            "service": [{"name": "web", "address": SERVICE, "ports": ["80"]}],
            **tables,
        },
        base=Path("/"),
    )


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"cluster": {"name": "test", "profile": "wan", "fsync": False, "founder": "a"}},
        {"publish": {"withdraw_after": 12.5, "max_intro_points": 7, "refresh_max": 200}},
        {
            "cluster": {"name": "test", "profile": "onion"},
            "transport": {"via": "socks5://127.0.0.1:9150"},
            "node": [
                {"name": "a", "address": f"{ONION}:7300", "listen": "127.0.0.1:7300", "weight": 2},
                {
                    "name": "b",
                    "address": f"{ONION.replace('2', '3')}:7300",
                    "listen": "127.0.0.1:7300",
                    "role": "learner",
                    "issuer": True,
                },
            ],
        },
    ],
    ids=["plain", "cluster", "publish", "onion"],
)
def test_what_is_written_is_read_as_the_same(tmp_path: Path, tables: dict[str, object]) -> None:
    config = configured(**tables)
    path = tmp_path / "cluster.toml"
    path.write_text(encode_config(config))
    assert load_config(path) == config
