from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rbcluster.errors import TorError
from rbcluster.lab.network import NetworkSize, PrivateNetwork


@pytest.mark.parametrize(("authorities", "relays"), [(0, 1), (1, 0)])
def test_a_network_needs_an_authority_and_a_relay(authorities: int, relays: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        NetworkSize(num_authorities=authorities, num_relays=relays)


@pytest.mark.parametrize("seconds", [5, 9, 11, 7, 1801])
def test_an_interval_tor_cannot_vote_in_is_refused(seconds: int) -> None:
    with pytest.raises(ValueError, match="divisor of 30 min"):
        NetworkSize(voting_interval=timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [10, 20, 1800])
def test_an_interval_tor_can_vote_in_is_taken(seconds: int) -> None:
    assert NetworkSize(voting_interval=timedelta(seconds=seconds)).interval_s == seconds


async def test_a_network_that_does_not_run_has_no_directory() -> None:
    network = PrivateNetwork()
    await network.stop()

    with pytest.raises(TorError, match="start it first"):
        _ = network.directory


async def test_a_network_without_tor_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in ("sh", "rm", "sleep"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path))
    network = PrivateNetwork()

    with pytest.raises(TorError, match="install the package tor"):
        await network.start()
    with pytest.raises(TorError, match="start it first"):
        _ = network.directory
