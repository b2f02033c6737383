from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.own_address import find_own_addresses
from rbcluster.tor.settings import Identity, ServiceSettings
from tests.unit.tor.fake_control_port import ADDRESS

OWN = OnionAddress(IdentityKeypair.from_seed(bytes([5]) * 32).public)


@pytest.fixture
def instance(tmp_path: Path) -> ServiceSettings:
    (tmp_path / "hostname").write_text(f"{OWN}\n")
    return ServiceSettings(address=ADDRESS, directory=tmp_path, identity=Identity.INSTANCE)


def test_instance_serves_under_the_address_that_its_tor_wrote(instance: ServiceSettings) -> None:
    assert find_own_addresses([instance]) == ({ADDRESS: OWN}, ())


def test_shared_identity_needs_no_file() -> None:
    shared = ServiceSettings(address=ADDRESS, directory=Path("/nowhere"))
    assert find_own_addresses([shared]) == ({ADDRESS: ADDRESS}, ())


def test_instance_with_the_clusters_own_key_is_a_fault(instance: ServiceSettings) -> None:
    (instance.directory / "hostname").write_text(str(ADDRESS))
    found, (fault,) = find_own_addresses([instance])
    assert found == {}
    assert "is the cluster's own address" in fault
    assert "publish over the cluster's descriptor" in fault


def test_missing_hostname_is_a_fault_with_its_remedy(instance: ServiceSettings) -> None:
    (instance.directory / "hostname").unlink()
    found, (fault,) = find_own_addresses([instance])
    assert found == {}
    assert f"{instance.directory}/hostname can't be read (No such file" in fault
    assert fault.endswith("check hidden_service_dir: tor writes it as it starts")


@pytest.mark.parametrize("content", [b"", b"abc.onion\n", b"\xff\xfe"])
def test_hostname_without_an_address_is_a_fault(instance: ServiceSettings, content: bytes) -> None:
    (instance.directory / "hostname").write_bytes(content)
    found, (fault,) = find_own_addresses([instance])
    assert found == {}
    assert fault.endswith("holds no onion address: restart tor, which writes it anew")


def test_fault_of_one_service_costs_no_other_its_address(instance: ServiceSettings) -> None:
    other = ServiceSettings(
        address=OWN, directory=instance.directory / "no", identity=Identity.INSTANCE
    )
    found, faults = find_own_addresses([other, instance])
    assert found == {ADDRESS: OWN}
    assert len(faults) == 1
