from __future__ import annotations

import socket

import pytest

from rbcluster.lab.ports import LOOPBACK, PortReservation


@pytest.fixture
def listener() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def test_a_reserved_port_can_be_listened_on_by_whoever_reuses_addresses_as_tor_does(
    listener: socket.socket,
) -> None:
    ports = PortReservation()
    port = ports.reserve()
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()

        socket.create_connection((LOOPBACK, port), timeout=5).close()
    ports.close()


def test_a_reserved_port_is_not_given_to_others(listener: socket.socket) -> None:
    ports = PortReservation()
    port = ports.reserve()
    with listener, pytest.raises(OSError, match="in use"):
        listener.bind((LOOPBACK, port))
    ports.close()


def test_a_port_is_free_again_after_close(listener: socket.socket) -> None:
    ports = PortReservation()
    port = ports.reserve()
    ports.close()
    with listener:
        listener.bind((LOOPBACK, port))

        assert listener.getsockname() == (LOOPBACK, port)


def test_no_port_is_reserved_twice() -> None:
    ports = PortReservation()

    assert len({ports.reserve() for _ in range(50)}) == 50
    ports.close()
