"""Endpoints and onion ports: each form that tor's manual allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbcluster.endpoint import HostPort, OnionPort, parse_port, parse_socket_path


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:7300", "192.0.2.1", 7300),
        ("[2001:DB8:0:0::1]:1", "2001:db8::1", 1),
        ("Node-A.example.org.:65535", "node-a.example.org", 65535),
    ],
)
def test_an_endpoint_is_kept_in_its_shortest_spelling(text: str, host: str, port: int) -> None:
    assert HostPort.parse(text) == HostPort(host, port)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("80", HostPort("127.0.0.1", 80)),
        ("80 8080", HostPort("127.0.0.1", 8080)),
        ("80 192.0.2.1", HostPort("192.0.2.1", 80)),
        ("80 192.0.2.1:8080", HostPort("192.0.2.1", 8080)),
        ("80 [::1]", HostPort("::1", 80)),
        (" 80   [::1]:8080 ", HostPort("::1", 8080)),
        ("80 web.example.org:8080", HostPort("web.example.org", 8080)),
        ("80 localhost:8080", HostPort("localhost", 8080)),
        ("80 unix:/run/web.sock", Path("/run/web.sock")),
        ('80 unix:"/run/web site.sock"', Path("/run/web site.sock")),
    ],
)
def test_an_onion_port_leads_where_tor_would(text: str, target: HostPort | Path) -> None:
    assert OnionPort.parse(text) == OnionPort(80, target)


@pytest.mark.parametrize("target", ["808O", "nonsense", "web.example.org", "-1", "80 81", "/run/x"])
def test_a_bare_target_that_is_no_port_or_address_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=f"^'{target}' is no port, IP address or unix:PATH: write"):
        OnionPort.parse(f"80 {target}")


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("192.0.2.1:808O", "'808O' is no port"),
        ("web.example.org:", "'' is no port"),
        ("192.0.2.256", "'192.0.2.256' is no IPv4 address"),
        ("[::g]", "'::g' is no IPv6 address"),
        ("::1", "'::1' is no host:port: write"),
        ("65536", "'65536' is no port"),
    ],
)
def test_a_target_with_one_wrong_part_has_that_part_named(target: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}"):
        OnionPort.parse(f"80 {target}")


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", "1 ", "١", "9" * 5000])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no port"):
        parse_port(text)


@pytest.mark.parametrize("text", ["unix:", "unix:run", 'unix:/a"b', "unix:/a\nHiddenServicePort 1"])
def test_what_is_no_socket_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="names no Unix socket"):
        parse_socket_path(text)


@settings(deadline=None)
@given(text=st.text(max_size=40) | st.from_regex(r"[\w.:\[\]]{0,20}:\d{1,6}", fullmatch=True))
def test_any_text_is_an_endpoint_or_refused_with_value_error(text: str) -> None:
    try:
        endpoint = HostPort.parse(text)
    except ValueError:
        return
    assert HostPort.parse(str(endpoint)) == endpoint


@settings(deadline=None)
@given(text=st.text(max_size=40) | st.from_regex(r"\d{1,5} [\w.:/\[\]]{0,20}", fullmatch=True))
def test_any_text_is_an_onion_port_or_refused_with_value_error(text: str) -> None:
    try:
        port = OnionPort.parse(text)
    except ValueError:
        return
    assert OnionPort.parse(str(port)) == port
    assert "\n" not in str(port)
