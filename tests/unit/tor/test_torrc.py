from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.errors import TorOptionError
from rbcluster.tor.settings import Identity, ServiceSettings, TorMode, TorSettings
from rbcluster.tor.torrc import encode_torrc
from tests.unit.tor.fake_control_port import ADDRESS

_SERVICE = ServiceSettings(
    address=ADDRESS, directory=Path("/d/a b"), ports=("80 127.0.0.1:8080", "81 unix:/s")
)


def _settings(*extra_lines: str, tor_dir: Path = Path("/d")) -> TorSettings:
    return TorSettings(mode=TorMode.MANAGED, tor_dir=tor_dir, extra_lines=extra_lines)


def test_a_service_stands_with_all_that_it_needs() -> None:
    lines = encode_torrc(_settings(), [_SERVICE]).splitlines()
    assert "PublishHidServDescriptors 0" in lines
    assert "SocksPort 0" in lines
    assert lines[lines.index('HiddenServiceDir "/d/a b"') :] == [
        'HiddenServiceDir "/d/a b"',
        "HiddenServiceVersion 3",
        "HiddenServicePort 80 127.0.0.1:8080",
        "HiddenServicePort 81 unix:/s",
        "HiddenServiceOnionbalanceInstance 1",
    ]


def test_extra_lines_come_first_so_that_ours_count() -> None:
    lines = encode_torrc(_settings("PublishHidServDescriptors 1"), [_SERVICE]).splitlines()
    assert lines[0] == "PublishHidServDescriptors 1"
    assert lines.index("PublishHidServDescriptors 0") > 0


def test_an_extra_socks_port_replaces_none() -> None:
    assert "SocksPort 0" not in encode_torrc(_settings("SocksPort 9999"), [])


@pytest.mark.parametrize(
    "settings",
    [_settings("Nickname a\nSocksPort 1"), _settings(tor_dir=Path("/d\nNickname a"))],
)
def test_a_line_break_is_refused(settings: TorSettings) -> None:
    with pytest.raises(TorOptionError, match="holds a line break"):
        encode_torrc(settings, [])


def test_quotes_and_backslashes_in_a_path_are_escaped() -> None:
    assert r'DataDirectory "/d\"\\/data"' in encode_torrc(_settings(tor_dir=Path('/d"\\')), [])


def test_instances_are_published_by_their_own_tor() -> None:
    instance = replace(_SERVICE, identity=Identity.INSTANCE)
    lines = encode_torrc(_settings(), [instance]).splitlines()
    assert "PublishHidServDescriptors 1" in lines
    assert "HiddenServiceOnionbalanceInstance 1" in lines
