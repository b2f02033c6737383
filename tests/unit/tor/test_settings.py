from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.tor.settings import TorMode, TorSettings, TorStatus


@pytest.mark.parametrize(
    ("mode", "control"), [(TorMode.SYSTEM, None), (TorMode.MANAGED, ("127.0.0.1", 9051))]
)
def test_a_control_endpoint_goes_with_a_system_tor_only(
    mode: TorMode, control: tuple[str, int] | None
) -> None:
    with pytest.raises(ValueError, match="goes with a system tor, and only with it"):
        TorSettings(mode=mode, tor_dir=Path("/d/tor"), control=control)


def test_a_managed_tor_has_a_socket_of_its_own() -> None:
    settings = TorSettings(mode=TorMode.MANAGED, tor_dir=Path("/d/tor"))
    assert settings.endpoint == Path("/d/tor/control")


def test_a_password_is_not_shown() -> None:
    settings = TorSettings(mode=TorMode.MANAGED, tor_dir=Path("/d/tor"), password="hunter2")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("status", "is_usable"),
    [
        (TorStatus(), False),
        (TorStatus(connected=True), True),
        (TorStatus(connected=True, faults=("wrong",)), False),
        (TorStatus(connected=True, warnings=("odd",)), True),
    ],
)
def test_a_tor_is_usable_while_connected_and_without_fault(
    status: TorStatus, is_usable: bool
) -> None:
    assert status.is_usable is is_usable
