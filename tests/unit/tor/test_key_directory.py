"""Key directories on a real file system: what is refused, and what is never overwritten."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from rbcluster.errors import KeyFileError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import (
    ForeignKey,
    SecretKeyForm,
    encode_tor_public_key,
    encode_tor_secret_key,
)
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.key_directory import (
    HOSTNAME_NAME,
    PUBLIC_KEY_NAME,
    SECRET_KEY_NAME,
    _check_trusted,
    check_no_client_authorization,
    import_secret_key,
    read_secret_key,
    write_key_directory,
)

SEED = b"\x11" * 32
KEYPAIR = IdentityKeypair.from_seed(SEED)
OTHER = IdentityKeypair.from_seed(b"\x22" * 32)
ADDRESS = str(OnionAddress(KEYPAIR.public))
OTHER_ADDRESS = str(OnionAddress(OTHER.public))
NAMES = [SECRET_KEY_NAME, PUBLIC_KEY_NAME, HOSTNAME_NAME]
NOBODY = 65534


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a key directory of `KEYPAIR`."""
    directory = tmp_path / "service"
    write_key_directory(directory, KEYPAIR)
    return directory


def test_what_is_written_is_tors_own_layout(directory: Path) -> None:
    assert sorted(entry.name for entry in directory.iterdir()) == sorted(NAMES)
    assert (directory / "hs_ed25519_secret_key").read_bytes() == encode_tor_secret_key(KEYPAIR)
    public = (directory / "hs_ed25519_public_key").read_bytes()
    assert public == encode_tor_public_key(KEYPAIR.public)
    assert (directory / "hostname").read_text() == f"{ADDRESS}\n"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_what_is_written(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_key_directory(tmp_path / "service", KEYPAIR)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "service") == 0o700
    assert [mode_of(tmp_path / "service" / name) for name in NAMES] == [0o600] * 3


def test_what_is_written_is_read_back(directory: Path) -> None:
    assert read_secret_key(directory / SECRET_KEY_NAME) == KEYPAIR
    assert import_secret_key(directory / SECRET_KEY_NAME).keypair == KEYPAIR


def test_a_secret_key_alone_can_be_read(directory: Path) -> None:
    (directory / PUBLIC_KEY_NAME).unlink()
    (directory / HOSTNAME_NAME).unlink()
    assert read_secret_key(directory / SECRET_KEY_NAME) == KEYPAIR


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (SEED, SecretKeyForm.SEED),
        (KEYPAIR.secret, SecretKeyForm.EXPANDED),
        (encode_tor_secret_key(KEYPAIR), SecretKeyForm.TOR_FILE),
    ],
)
def test_every_form_of_a_secret_key_can_be_imported(
    tmp_path: Path, content: bytes, form: SecretKeyForm
) -> None:
    found = import_secret_key(private_file(tmp_path / "vanity.key", content))
    assert found == ForeignKey(KEYPAIR, form)


def test_only_tors_own_form_is_read_as_a_services_key(tmp_path: Path) -> None:
    path = private_file(tmp_path / SECRET_KEY_NAME, SEED)
    refuses(lambda: read_secret_key(path), path, "takes 96 bytes, not 32")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / SECRET_KEY_NAME
    refuses(lambda: read_secret_key(path), path, "does not exist: check the path")


def test_a_cut_key_is_refused(directory: Path) -> None:
    path = directory / SECRET_KEY_NAME
    os.truncate(path, 95)
    refuses(lambda: read_secret_key(path), path, "takes 96 bytes, not 95")


def test_a_file_far_too_long_is_refused_without_being_read_whole(tmp_path: Path) -> None:
    path = private_file(tmp_path / SECRET_KEY_NAME, encode_tor_secret_key(KEYPAIR))
    os.truncate(path, 1 << 40)
    refuses(lambda: read_secret_key(path), path, "takes 96 bytes")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    content = b"== ed25519v1-secret: type1 ==".ljust(32, b"\0") + KEYPAIR.secret
    path = private_file(tmp_path / SECRET_KEY_NAME, content)
    refuses(lambda: read_secret_key(path), path, "tag of a v3 onion service")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o602])
def test_a_key_open_to_others_is_refused(directory: Path, mode: int) -> None:
    path = directory / SECRET_KEY_NAME
    path.chmod(mode)
    refuses(lambda: read_secret_key(path), path, f"mode {mode:04o}): chmod it to 0600")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_its_owner_alone_is_accepted(directory: Path, mode: int) -> None:
    (directory / SECRET_KEY_NAME).chmod(mode)
    assert read_secret_key(directory / SECRET_KEY_NAME) == KEYPAIR


def test_a_key_that_may_not_be_read_is_named(directory: Path) -> None:
    path = directory / SECRET_KEY_NAME
    path.chmod(0o000)
    with an_ordinary_user():
        refuses(lambda: read_secret_key(path), path, "can't be read (Permission denied)")


@pytest.mark.parametrize("owner", [0, 1000])
def test_a_key_of_ours_or_of_the_directorys_owner_is_trusted(owner: int) -> None:
    _check_trusted(Path("key"), status_of(uid=owner), owners={0, 1000}, private=True)


def test_a_key_of_a_foreign_user_is_refused() -> None:
    def check() -> None:
        _check_trusted(Path("key"), status_of(uid=1001), owners={0, 1000}, private=True)

    refuses(check, Path("key"), "belongs to user 1001")


@pytest.mark.parametrize("name", NAMES)
def test_a_symbolic_link_in_place_of_a_file_is_refused(directory: Path, name: str) -> None:
    path = directory / name
    path.rename(directory.parent / name)
    path.symlink_to(directory.parent / name)
    refuses(lambda: read_secret_key(directory / SECRET_KEY_NAME), path, "is a symbolic link")
    refuses(lambda: write_key_directory(directory, KEYPAIR), path, "is a symbolic link")


def test_a_symbolic_link_to_nothing_is_not_written_over_even_if_asked(tmp_path: Path) -> None:
    path = tmp_path / HOSTNAME_NAME
    path.symlink_to(tmp_path / "nothing")
    refuses(lambda: write_key_directory(tmp_path, KEYPAIR, replace=True), path, "symbolic link")
    assert path.is_symlink()


def test_a_directory_in_place_of_a_file_is_refused(directory: Path) -> None:
    refuses(lambda: import_secret_key(directory), directory, "is no regular file")


def test_a_fifo_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / SECRET_KEY_NAME
    os.mkfifo(path, 0o600)
    refuses(lambda: read_secret_key(path), path, "is no regular file")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (PUBLIC_KEY_NAME, encode_tor_public_key(OTHER.public)),
        (HOSTNAME_NAME, OTHER_ADDRESS.encode()),
    ],
)
def test_a_file_of_another_address_beside_the_key_is_refused(
    directory: Path, name: str, content: bytes
) -> None:
    (directory / name).write_bytes(content)
    path = directory / SECRET_KEY_NAME
    for read in (partial(read_secret_key, path), partial(import_secret_key, path)):
        message = refuses(read, directory / name, "move the wrong one away")
        assert ADDRESS in message
        assert OTHER_ADDRESS in message


@pytest.mark.parametrize("name", [PUBLIC_KEY_NAME, HOSTNAME_NAME])
def test_a_damaged_file_beside_the_key_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"\xff")
    refuses(lambda: read_secret_key(directory / SECRET_KEY_NAME), directory / name, "can't be used")


@pytest.mark.parametrize("name", NAMES)
def test_no_file_of_another_address_is_written_over(directory: Path, name: str) -> None:
    for other in NAMES:
        if other != name:
            (directory / other).unlink()
    before = (directory / name).read_bytes()
    message = refuses(lambda: write_key_directory(directory, OTHER), directory / name, "is of")
    assert ADDRESS in message
    assert OTHER_ADDRESS in message
    assert [entry.name for entry in directory.iterdir()] == [name]
    assert (directory / name).read_bytes() == before


def test_a_damaged_key_is_not_written_over(directory: Path) -> None:
    path = directory / SECRET_KEY_NAME
    os.truncate(path, 50)
    refuses(lambda: write_key_directory(directory, KEYPAIR), path, "restore it from a copy")
    assert path.stat().st_size == 50


def test_another_address_is_written_over_when_asked(directory: Path) -> None:
    write_key_directory(directory, OTHER, replace=True)
    assert read_secret_key(directory / SECRET_KEY_NAME) == OTHER
    assert (directory / HOSTNAME_NAME).read_text() == f"{OTHER_ADDRESS}\n"


def test_writing_the_same_key_again_repairs_what_is_missing(directory: Path) -> None:
    (directory / HOSTNAME_NAME).unlink()
    (directory / PUBLIC_KEY_NAME).unlink()
    write_key_directory(directory, KEYPAIR)
    assert read_secret_key(directory / SECRET_KEY_NAME) == KEYPAIR
    assert (directory / HOSTNAME_NAME).read_text() == f"{ADDRESS}\n"


def test_what_a_killed_writer_left_is_cleared_away(directory: Path) -> None:
    (directory / f".{SECRET_KEY_NAME}.new").write_bytes(b"half")
    write_key_directory(directory, KEYPAIR)
    assert sorted(entry.name for entry in directory.iterdir()) == sorted(NAMES)


def test_a_file_is_replaced_and_not_changed_in_place(directory: Path) -> None:
    with (directory / SECRET_KEY_NAME).open("rb") as held_open:
        write_key_directory(directory, OTHER, replace=True)
        assert held_open.read() == encode_tor_secret_key(KEYPAIR)


def test_a_file_that_cannot_be_put_in_place_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / PUBLIC_KEY_NAME
    path.mkdir()
    refuses(lambda: write_key_directory(tmp_path, KEYPAIR, replace=True), path, "can't be written")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [HOSTNAME_NAME, PUBLIC_KEY_NAME]


def test_files_belong_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    os.chown(tmp_path, owner, -1)
    write_key_directory(tmp_path, KEYPAIR)
    assert {(tmp_path / name).stat().st_uid for name in NAMES} == {owner}
    assert read_secret_key(tmp_path / SECRET_KEY_NAME) == KEYPAIR


@pytest.mark.parametrize("mode", [0o750, 0o755, 0o701])
def test_a_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    refuses(lambda: write_key_directory(tmp_path, KEYPAIR), tmp_path, f"mode {mode:04o}): chmod")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    path = private_file(tmp_path / "service", b"")
    sentence = "can't be made (File exists): a file stands where a folder should be: name another"
    refuses(lambda: write_key_directory(path, KEYPAIR), path, sentence)


def test_a_service_with_authorized_clients_is_refused(directory: Path) -> None:
    clients = directory / "authorized_clients"
    clients.mkdir()
    (clients / "visitor.auth").write_text("descriptor:x25519:...\n")
    secret = directory / SECRET_KEY_NAME
    refuses(lambda: check_no_client_authorization(directory), clients, "open to everyone")
    refuses(lambda: import_secret_key(secret), clients, "open to everyone")
    refuses(lambda: write_key_directory(directory, KEYPAIR), clients, "open to everyone")
    assert read_secret_key(secret) == KEYPAIR


def test_authorized_clients_that_tor_ignores_do_not_count(directory: Path) -> None:
    check_no_client_authorization(directory)
    clients = directory / "authorized_clients"
    clients.mkdir()
    check_no_client_authorization(directory)
    (clients / "visitor.auth.disabled").touch()
    check_no_client_authorization(directory)


def test_authorized_clients_that_cannot_be_listed_are_refused(directory: Path) -> None:
    clients = private_file(directory / "authorized_clients", b"")
    refuses(lambda: check_no_client_authorization(directory), clients, "can't be listed")


def refuses(work: Callable[[], object], path: Path, what: str) -> str:
    """Check that `work` fails with one sentence that begins with `path` and shows no secret."""
    with pytest.raises(KeyFileError) as caught:
        work()
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert what in message
    assert "\n" not in message
    assert KEYPAIR.secret.hex()[:16] not in message
    return message


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """Give up root's power to read everything, where the tests run as root."""
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def private_file(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def status_of(*, uid: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | 0o600, 1, 1, 1, uid, 0, 96, 0, 0, 0))
