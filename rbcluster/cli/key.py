"""`rbcluster key`: make a master key, or say which address one is of. Secrets are never printed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from rbcluster.errors import KeyFileError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import ForeignKey, SecretKeyForm
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.params import KEY_BYTES
from rbcluster.tor.key_directory import (
    SECRET_KEY_NAME,
    import_secret_key,
    read_secret_key,
    write_key_directory,
)


@click.group()
def key() -> None:
    """Make and inspect master keys."""


@key.command()
@click.argument("directory", type=click.Path(path_type=Path))
def new(directory: Path) -> None:
    """Make a new master key in DIRECTORY, in tor's form. An existing one is never replaced."""
    file = directory / SECRET_KEY_NAME
    if os.path.lexists(file):
        raise KeyFileError(f"{file} exists: a key is never replaced, name another directory")
    keypair = new_keypair()
    write_key_directory(directory, keypair)
    _say(file, ForeignKey(keypair, SecretKeyForm.TOR_FILE))


@key.command()
@click.argument("path", type=click.Path(path_type=Path))
def show(path: Path) -> None:
    """Say which address a master key is of.

    PATH is a service's key directory, or a file in any form: tor's hs_ed25519_secret_key, a
    64-byte expanded key, a 32-byte seed, or PEM.
    """
    if path.is_dir():
        file = path / SECRET_KEY_NAME
        _say(file, ForeignKey(read_secret_key(file), SecretKeyForm.TOR_FILE))
    else:
        _say(path, import_secret_key(path))


def new_keypair() -> IdentityKeypair:
    """Make a master key from 32 bytes of the system's randomness."""
    return IdentityKeypair.from_seed(os.urandom(KEY_BYTES))


def _say(file: Path, key: ForeignKey) -> None:
    click.echo(f"address     {OnionAddress(key.keypair.public)}")
    click.echo(f"public key  {key.keypair.public}")
    click.echo(f"file        {file}")
    click.echo(f"form        {key.form.value}")
