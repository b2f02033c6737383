"""`rbcluster descriptor show` on tor's own descriptors, and on what is none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rbcluster.cli.descriptor import read_client_key
from rbcluster.cli.main import main
from rbcluster.errors import KeyFileError

CAPTURE = Path(__file__).parents[2] / "vectors" / "tor-0.4.9.11"
FACTS = json.loads((CAPTURE / "capture.json").read_text())
ORDINARY = CAPTURE / "descriptor-ordinary.txt"
AUTHORIZED = CAPTURE / "descriptor-authorized.txt"
LENGTH = ("--period-length", str(FACTS["period_length_min"]))
CLIENT_KEY = bytes.fromhex(FACTS["services"]["authorized"]["client_x25519_secret"])


def address(service: str) -> str:
    return str(FACTS["services"][service]["address"])


def show(*args: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["descriptor", "show", *map(str, args)], input=stdin)


def complaint(result: Result) -> str:
    """Return the one line that a refused command prints."""
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("rbcluster: ")
    return str(line)


def as_json(*args: str | Path, stdin: bytes | None = None) -> Any:
    result = show(*args, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_tors_own_descriptor_is_decoded_without_knowing_its_period() -> None:
    shown = as_json(ORDINARY, "--address", address("ordinary"), *LENGTH)
    assert shown["address"] == address("ordinary")
    assert shown["flow_control"] == ["1-2", 31]
    assert len({point["relay"] for point in shown["intro_points"]}) == 3


def test_the_page_names_every_relay() -> None:
    args = (ORDINARY, "--address", address("ordinary"), *LENGTH)
    page = show(*args).stdout
    assert all(point["relay"] in page for point in as_json(*args)["intro_points"])


def test_the_period_it_found_may_also_be_given() -> None:
    args = (ORDINARY, "--address", address("ordinary"), *LENGTH)
    shown = as_json(*args)
    assert as_json(*args, "--period", str(shown["period"]))["blinded_key"] == shown["blinded_key"]


def test_standard_input_and_an_address_without_onion_do() -> None:
    label = address("ordinary").removesuffix(".onion").upper()
    shown = as_json("-", "--address", label, *LENGTH, stdin=ORDINARY.read_bytes())
    assert shown["address"] == address("ordinary")


@pytest.mark.parametrize("form", ["tor", "raw"])
def test_an_authorized_client_reads_with_its_key(tmp_path: Path, form: str) -> None:
    path = tmp_path / "client.auth_private"
    label = address("authorized").removesuffix(".onion")
    text = f"{label}:descriptor:x25519:{base64.b32encode(CLIENT_KEY).decode().rstrip('=')}\n"
    path.write_bytes(text.encode() if form == "tor" else CLIENT_KEY)
    args = (AUTHORIZED, "--address", address("authorized"), *LENGTH, "--client-key", path)
    assert as_json(*args)["restricted"] is True


def test_without_the_key_the_remedy_is_named() -> None:
    line = complaint(show(AUTHORIZED, "--address", address("authorized"), *LENGTH))
    assert str(AUTHORIZED) in line
    assert "if the service has authorized clients, give the key of one" in line


def test_a_testing_network_needs_its_period_length() -> None:
    line = complaint(show(ORDINARY, "--address", address("ordinary")))
    assert "no time period of 1440 min around" in line
    assert "--period-length for a testing network" in line


def test_a_descriptor_of_another_address_is_refused() -> None:
    line = complaint(show(ORDINARY, "--address", address("shared"), *LENGTH))
    assert "check the address" in line


def test_a_wrong_period_is_refused() -> None:
    line = complaint(show(ORDINARY, "--address", address("ordinary"), *LENGTH, "--period", "1"))
    assert "in time period 1" in line


def test_a_mistyped_address_is_explained() -> None:
    line = complaint(show(ORDINARY, "--address", "b" + address("ordinary")[1:]))
    assert "wrong checksum: it was mistyped or cut" in line


def _cut(document: bytes) -> bytes:
    return document[:5_000]


def _resigned(document: bytes) -> bytes:
    head, keyword, signature = document.rpartition(b"\nsignature ")
    return (
        head
        + keyword
        + signature[:9]
        + (b"A" if signature[9:10] != b"A" else b"B")
        + (signature[10:])
    )


def _other_revision(document: bytes) -> bytes:
    return document.replace(b"\nrevision-counter ", b"\nrevision-counter 1", 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: b"", "outer layer"),
        (lambda _: b"\xff\x00", "outer layer"),
        (lambda document: document * 5, "bytes, and HSDirs take less than 50000"),
        (_cut, "outer layer"),
        (_resigned, "signature"),
        (_other_revision, "signature"),
    ],
)
def test_a_spoilt_descriptor_gets_one_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    path = tmp_path / "spoilt"
    path.write_bytes(spoil(ORDINARY.read_bytes()))
    line = complaint(show(path, "--address", address("ordinary"), *LENGTH))
    assert f"rbcluster: {path}: " in line
    assert said in line


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    line = complaint(show(tmp_path / name, "--address", address("ordinary")))
    assert "can't be read" in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"sesame",
        bytes(33),
        b"label:descriptor:x25519:sesame!",
        b"label:descriptor:x25519:" + base64.b32encode(bytes(31)).rstrip(b"="),
        b"label:descriptor:x448:" + base64.b32encode(bytes(32)).rstrip(b"="),
    ],
)
def test_what_is_no_client_key_is_refused_unquoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"holds no client key: give tor's \.auth_private") as e:
        read_client_key(path)
    assert "sesame" not in str(e.value)


def test_a_client_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    args = (AUTHORIZED, "--address", address("authorized"), "--client-key", tmp_path / "none")
    assert "none can't be read (No such file or directory)" in complaint(show(*args))


def test_a_raw_client_key_may_hold_any_bytes(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\n" + bytes(30) + b" ")
    assert read_client_key(path) == path.read_bytes()
