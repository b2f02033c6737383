"""`rbcluster descriptor show`: what a descriptor says, tor's or ours, for when "the site is down".

The time period it is for stands nowhere in a descriptor: its blinded key is that of one period, so
the periods around the date of its certificate are tried.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console

from rbcluster.cli.descriptor_page import describe, render_descriptor
from rbcluster.errors import DescriptorError, KeyFileError, ParseError, VerificationError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor.open import find_period, open_descriptor
from rbcluster.hs.descriptor.outer import parse_outer
from rbcluster.hs.params import CERT_LIFETIME, DEFAULT_INTERVAL_MIN, KEY_BYTES
from rbcluster.hs.time_period import TimePeriod

_MAX_READ_BYTES = 1_000_000  # far above every descriptor: the parser then refuses its size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPREAD = timedelta(hours=48)  # from the certificate's date to its period, either way, generously
_MAX_PERIOD_MIN = 14_400  # hsdir_interval of the consensus: 30 to 14,400 minutes


@click.group()
def descriptor() -> None:
    """Look into descriptors."""


@descriptor.command()
@click.argument("file", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--address", "address_text", required=True, help="The service it is of.")
@click.option(
    "--client-key",
    "client_key_file",
    type=click.Path(path_type=Path),
    help="An authorized client's key: tor's .auth_private file, or 32 bytes.",
)
@click.option(
    "--period",
    "number",
    type=click.IntRange(0, 2**63 - 1),
    help="Time period number; else it is found.",
)
@click.option(
    "--period-length",
    "length_min",
    type=click.IntRange(1, _MAX_PERIOD_MIN),
    default=DEFAULT_INTERVAL_MIN,
    show_default=True,
    help="Minutes; a testing network has other ones than the public network.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(
    *,
    file: Path,
    address_text: str,
    client_key_file: Path | None,
    number: int | None,
    length_min: int,
    as_json: bool,
) -> None:
    """Verify and decode the v3 descriptor in FILE (- for standard input)."""
    address = OnionAddress.parse(address_text)
    client_key = read_client_key(client_key_file) if client_key_file else None
    now = datetime.now(UTC)
    try:
        document = _read(file)
        if number is None:
            period = _find_period(document, address, length_min)
        else:
            period = TimePeriod(number=number, length_min=length_min)
        opened = open_descriptor(document, address, period, client_key=client_key)
    except DescriptorError as error:
        raise type(error)(f"{file}: {error}") from error
    if as_json:
        click.echo(json.dumps(describe(opened, now), indent=2))
    else:
        Console(highlight=False).print(render_descriptor(opened, now))


def read_client_key(path: Path) -> bytes:
    """Read an authorized client's secret X25519 key (32 bytes).

    :param path: tor's ``ADDRESS:descriptor:x25519:BASE32`` (ClientOnionAuthDir), or 32 raw bytes.
    :raises KeyFileError: if it is neither; the text never quotes the file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} {_unreadable(error)}") from error
    fields = data.strip().split(b":")
    if fields[1:3] == [b"descriptor", b"x25519"]:
        try:
            data = base64.b32decode(fields[-1].upper() + b"====")
        except binascii.Error:
            data = b""  # refused below; the error would quote nothing useful
    if len(data) != KEY_BYTES:
        raise KeyFileError(
            f"{path} holds no client key: give tor's .auth_private file, or {KEY_BYTES} raw bytes"
        )
    return data


def _read(file: Path) -> bytes:
    try:
        with click.open_file(str(file), "rb") as stream:
            return bytes(stream.read(_MAX_READ_BYTES))
    except OSError as error:
        raise ParseError(_unreadable(error)) from error


def _unreadable(error: OSError) -> str:
    return f"can't be read ({error.strerror}): {remedy_for(error, missing='check the path')}"


def _find_period(document: bytes, address: OnionAddress, length_min: int) -> TimePeriod:
    """Try the periods around the date of the certificate, the likeliest first."""
    certified_at = parse_outer(document).cert_expires_at - CERT_LIFETIME
    try:
        return find_period(document, address, _periods_around(certified_at, length_min))
    except VerificationError as error:
        raise VerificationError(
            f"it is of no time period of {length_min} min around {certified_at:%Y-%m-%d %H:%M} "
            f"UTC for {address}: check the address, and --period-length for a testing network"
        ) from error


def _periods_around(instant: datetime, length_min: int) -> Iterator[TimePeriod]:
    """List time periods by their distance, far enough for any network's rotation offset."""
    length = timedelta(minutes=length_min)
    middle, reach = (instant - _EPOCH) // length, _SPREAD // length + 1
    for number in sorted(range(middle - reach, middle + reach + 1), key=lambda n: abs(n - middle)):
        if number >= 0:
            yield TimePeriod(number=number, length_min=length_min)
