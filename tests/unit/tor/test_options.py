from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.errors import TorOptionError
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.options import (
    Options,
    find_faults,
    find_unpublished,
    is_testing_network,
    read_options,
)
from rbcluster.tor.settings import Identity, ServiceSettings
from tests.unit.tor.fake_control_port import FakeControlPort, options, single


@pytest.fixture
async def connection(port: FakeControlPort, directory: Path) -> AsyncIterator[ControlConnection]:
    assert port.num_connections == 0
    async with open_connection(directory / "control", print) as opened:
        yield opened


def _right(service: ServiceSettings) -> Options:
    return (
        ("publishhidservdescriptors", "0"),
        ("testingtornetwork", "0"),
        ("hiddenservicedir", f"{service.directory}/"),
        ("hiddenserviceport", "80 127.0.0.1:8080"),
        ("hiddenserviceonionbalanceinstance", "1"),
    )


def _changed(service: ServiceSettings, name: str, value: str) -> Options:
    return tuple((key, value if key == name else old) for key, old in _right(service))


def test_right_options_have_no_fault(service: ServiceSettings) -> None:
    assert find_faults(_right(service), [service]) == ()


async def test_tor_is_asked_for_what_is_checked(
    port: FakeControlPort, connection: ControlConnection, service: ServiceSettings
) -> None:
    port.answers["GETCONF"] = options(service)
    found = await read_options(connection)
    assert find_faults(found, [service]) == ()
    assert not is_testing_network(found)


async def test_a_tor_that_lacks_an_option_is_refused(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETCONF"] = single('Unrecognized configuration key "HiddenServiceOptions"', 552)
    with pytest.raises(TorOptionError, match=r"lacks an option that rbcluster needs.*Unrecognized"):
        await read_options(connection)


def test_a_tor_that_publishes_by_itself_is_a_fault(service: ServiceSettings) -> None:
    (fault,) = find_faults(_changed(service, "publishhidservdescriptors", "1"), [service])
    assert fault.startswith("PublishHidServDescriptors is 1")
    assert "set it to 0 in torrc and restart tor" in fault


@pytest.mark.parametrize("value", ["0", ""])
def test_a_service_that_is_no_instance_is_a_fault(service: ServiceSettings, value: str) -> None:
    changed = _changed(service, "hiddenserviceonionbalanceinstance", value)
    (fault,) = find_faults(changed, [service])
    assert fault.startswith(f"HiddenServiceOnionbalanceInstance is not 1 for {service.directory}")


def test_the_instance_option_of_another_service_does_not_count(service: ServiceSettings) -> None:
    swapped = _changed(service, "hiddenservicedir", "/other")
    both = (*swapped, ("hiddenservicedir", str(service.directory)), ("hiddenserviceport", "80"))
    (fault,) = find_faults(both, [service])
    assert fault.startswith("HiddenServiceOnionbalanceInstance is not 1")


def test_a_service_that_tor_does_not_have_is_a_fault(service: ServiceSettings) -> None:
    (fault,) = find_faults(_changed(service, "hiddenservicedir", "/other"), [service])
    assert fault.startswith(f"tor has no HiddenServiceDir {service.directory}")


@pytest.mark.parametrize("content", [None, "", "MasterOnionAddress abc.onion\n"])
def test_an_ob_config_that_does_not_name_the_service_is_a_fault(
    service: ServiceSettings, content: str | None
) -> None:
    path = service.directory / "ob_config"
    path.unlink() if content is None else path.write_text(content)
    (fault,) = find_faults(_right(service), [service])
    assert fault.startswith(f"{path} does not name the cluster")
    assert service.ob_config.strip() in fault


def test_an_ob_config_may_hold_more_and_be_spaced_otherwise(service: ServiceSettings) -> None:
    path = service.directory / "ob_config"
    path.write_text("# ours\n  " + service.ob_config.replace(" ", "   "))
    assert find_faults(_right(service), [service]) == ()


def test_a_directory_that_can_not_be_looked_into_is_no_fault(service: ServiceSettings) -> None:
    path = service.directory / "ob_config"
    path.unlink()
    path.mkdir()  # reading it fails for every user, root included
    assert find_faults(_right(service), [service]) == ()


def test_a_service_of_somebody_else_is_named(service: ServiceSettings) -> None:
    (sentence,) = find_unpublished((*_right(service), ("hiddenservicedir", "/other")), [service])
    assert sentence.startswith("/other is in this tor but not in the cluster")


def test_a_testing_network_is_recognized(service: ServiceSettings) -> None:
    assert is_testing_network(_changed(service, "testingtornetwork", "1"))


def _as_instance(service: ServiceSettings) -> ServiceSettings:
    return replace(service, identity=Identity.INSTANCE)


def test_a_tor_of_instances_publishes_by_itself(service: ServiceSettings) -> None:
    published = _changed(service, "publishhidservdescriptors", "1")
    assert find_faults(published, [_as_instance(service)]) == ()


def test_a_tor_of_instances_that_is_silent_is_a_fault(service: ServiceSettings) -> None:
    (fault,) = find_faults(_right(service), [_as_instance(service)])
    assert fault.startswith("PublishHidServDescriptors is 0: with identity")
    assert "no service of a shared identity may be in it; set it to 1 in torrc" in fault


def test_an_instance_without_the_option_is_deaf(service: ServiceSettings) -> None:
    published = _changed(service, "publishhidservdescriptors", "1")
    without = tuple(entry for entry in published if "instance" not in entry[0])
    (fault,) = find_faults(without, [_as_instance(service)])
    assert "would be deaf at all times; set it in torrc" in fault


def test_a_tor_of_instances_publishes_whatever_else_is_in_it(service: ServiceSettings) -> None:
    more = (*_right(service), ("hiddenservicedir", "/other"))
    assert find_unpublished(more, [_as_instance(service)]) == ()


def test_a_tor_without_a_service_of_ours_may_publish_or_not() -> None:
    assert find_faults((("publishhidservdescriptors", "1"),), []) == ()
