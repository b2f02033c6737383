"""A service's key directory: the files of a HiddenServiceDir, read with suspicion, written whole.

The master key decides who owns an onion address, so a file that others could read or put in place
is refused, and a key is never written over another one unless asked.

Not here: the bytes of the files (`hs/identity.py`), tor's other files in that directory.

Overview::

    read_secret_key(path)       a service's hs_ed25519_secret_key        -> IdentityKeypair
    import_secret_key(path)     the same, PEM, expanded key or seed      -> ForeignKey
    write_key_directory(directory, keypair)   hs_ed25519_secret_key, hs_ed25519_public_key, hostname
    check_no_client_authorization(directory)
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rbcluster.errors import KeyFileError, ParseError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import (
    ForeignKey,
    encode_tor_public_key,
    encode_tor_secret_key,
    parse_secret_key,
    parse_tor_public_key,
    parse_tor_secret_key,
)
from rbcluster.hs.keys import IdentityKeypair

SECRET_KEY_NAME = "hs_ed25519_secret_key"  # noqa: S105 - a file name
PUBLIC_KEY_NAME = "hs_ed25519_public_key"
HOSTNAME_NAME = "hostname"

_OTHERS = 0o077  # the permission bits of everyone but the owner
_MAX_BYTES = 4096  # above every key file: a longer one is cut here and refused for its length
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # never waits on a FIFO
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_T = TypeVar("_T")


def read_secret_key(path: Path) -> IdentityKeypair:
    """Read a service's `hs_ed25519_secret_key`.

    Whoever publishes with it asks `check_no_client_authorization` first.

    :param path: the file; a public key and a hostname beside it must be of the same address.
    :raises KeyFileError: if a file can't be read, trusted or parsed.
    """
    keypair = _parse(path, parse_tor_secret_key, private=True)
    _check_neighbours(path, keypair)
    return keypair


def import_secret_key(path: Path) -> ForeignKey:
    """Read a secret key from elsewhere: Tor's file, PEM, an expanded key, a seed.

    :param path: the file; what stands beside it is checked as `read_secret_key` does.
    :raises KeyFileError: if a file can't be read, trusted or parsed, or the key comes from the
        directory of a service that has authorized clients.
    """
    check_no_client_authorization(path.parent)
    key = _parse(path, parse_secret_key, private=True)
    _check_neighbours(path, key.keypair)
    return key


def write_key_directory(
    directory: Path, keypair: IdentityKeypair, *, replace: bool = False
) -> None:
    """Write the three files by which tor serves an address: directory 0700, files 0600.

    Each file is put in place whole; the secret key comes last, so that a directory that holds one
    is complete. Files belong to the owner of the directory, whoever writes them. Writing the same
    key again repairs what is missing.

    :param replace: whether files of another address may be written over.
    :raises KeyFileError: if there are such files and `replace` is false, a file is a symbolic link,
        or the directory has authorized clients, is open to others, or can't be written.
    """
    address = OnionAddress(keypair.public)
    contents = {
        HOSTNAME_NAME: f"{address}\n".encode("ascii"),
        PUBLIC_KEY_NAME: encode_tor_public_key(address.identity),
        SECRET_KEY_NAME: encode_tor_secret_key(keypair),
    }
    _make_private(directory)
    check_no_client_authorization(directory)
    for path in _existing(directory, *contents):
        if path.is_symlink():
            raise _symbolic_link(path)
        if not replace and (found := _address_in(path)) != address:
            msg = f"{path} is of {found}, not {address}: move it away, or ask for its replacement"
            raise KeyFileError(msg)
    for name, content in contents.items():
        _write_whole(directory / name, content)


def check_no_client_authorization(directory: Path) -> None:
    """Refuse a service that only authorized clients may visit.

    A merged descriptor can't carry client authorization yet: published by rbcluster, the service
    would be open to everyone.

    :raises KeyFileError: if `authorized_clients` holds an `*.auth` file, or can't be listed.
    """
    clients = directory / "authorized_clients"
    try:
        names = [entry.name for entry in clients.iterdir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(clients, "listed", error) from error
    if any(name.endswith(".auth") for name in names):
        msg = (
            f"{clients} keeps the service for authorized clients, which a merged descriptor can't "
            "do yet: remove its *.auth files if the service may be open to everyone"
        )
        raise KeyFileError(msg)


def _check_neighbours(path: Path, keypair: IdentityKeypair) -> None:
    """Refuse a key that lies in tor's place beside files of another address."""
    address = OnionAddress(keypair.public)
    if path.name == SECRET_KEY_NAME:
        for other in _existing(path.parent, PUBLIC_KEY_NAME, HOSTNAME_NAME):
            if (found := _address_in(other)) != address:
                msg = (
                    f"{other} is of {found}, but {path.name} of {address}: move the wrong one away"
                )
                raise KeyFileError(msg)


def _existing(directory: Path, *names: str) -> list[Path]:
    """Return what exists under these names, broken links included."""
    return [directory / name for name in names if os.path.lexists(directory / name)]


def _address_in(path: Path) -> OnionAddress:
    """Read which address one of the three files is of."""
    if path.name == SECRET_KEY_NAME:
        return OnionAddress(_parse(path, parse_tor_secret_key, private=True).public)
    if path.name == PUBLIC_KEY_NAME:
        return OnionAddress(_parse(path, parse_tor_public_key, private=False))
    return _parse(path, lambda data: OnionAddress.parse(data.decode("ascii", "replace")))


def _parse(path: Path, parse: Callable[[bytes], _T], *, private: bool = False) -> _T:
    """Read and parse a file; a `private` one must be ours alone."""
    data = _read_file(path, private=private)
    try:
        return parse(data)
    except ParseError as error:
        raise KeyFileError(f"{path} can't be used: {error}; restore it from a copy") from error


def _read_file(path: Path, *, private: bool) -> bytes:
    """Read a small regular file, deciding by what was opened and not by what the name says."""
    try:
        descriptor = os.open(path, _READ_FLAGS)
        try:
            _check_trusted(
                path,
                os.fstat(descriptor),
                owners={os.geteuid(), path.parent.stat().st_uid},
                private=private,
            )
            return os.read(descriptor, _MAX_BYTES)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        msg = f"{path} does not exist: check the path (`rbcluster key new` makes a new address)"
        raise KeyFileError(msg) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _symbolic_link(path) from error
        raise _unusable(path, "read", error) from error


def _check_trusted(path: Path, status: os.stat_result, *, owners: set[int], private: bool) -> None:
    """Refuse what is no regular file and, if it is to be private, what others own or may touch.

    :param owners: us, and the owner of the directory: root may read a directory of tor's user.
    """
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is no regular file: name the key file itself")
    if private and status.st_uid not in owners:
        msg = (
            f"{path} belongs to user {status.st_uid}, who is neither the owner of its directory "
            "nor the one reading it: chown it"
        )
        raise KeyFileError(msg)
    if private and status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(f"{path} is open to others (mode {mode:04o}): chmod it to 0600")


def _make_private(directory: Path) -> None:
    """Make the directory if need be; refuse one that tor would refuse."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        raise _unusable(directory, "made", error) from error
    if mode & _OTHERS:
        raise KeyFileError(f"{directory} is open to others (mode {mode:04o}): chmod it to 0700")


def _write_whole(path: Path, content: bytes) -> None:
    """Put a file in place so that a reader, or a power cut, finds all of it or the former one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)  # of a writer that was killed
        try:
            with open(os.open(temporary, _WRITE_FLAGS, 0o600), "wb") as file:  # noqa: PTH123
                owner = path.parent.stat()
                if owner.st_uid != os.geteuid():
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _unusable(path, "written", error) from error


def _sync_directory(directory: Path) -> None:
    """Make a rename last."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _symbolic_link(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} is a symbolic link: put the file itself in its place")


def _unusable(path: Path, verb: str, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path} can't be {verb} ({error.strerror}): {remedy_for(error)}")
