"""A descriptor's middle layer: who may read the inner one. Real clients hide among fakes.

    desc-auth-type x25519
    desc-auth-ephemeral-key
    auth-client                   (a multiple of 16 lines, also without client authorization)
    encrypted                     (the inner layer)

Padded with NULs, so that a descriptor's size does not tell how many introduction points it lists.

Spec: rend-spec-v3 2.5.1 [HS-DESC-FIRST-LAYER].

Overview::

    EphemeralKey   what clients' keys are combined with
    AuthClient     one auth-client line
    MiddleLayer    what the layer says
    parse_middle   read it
    encode_middle  write and pad it
"""

from __future__ import annotations

from dataclasses import dataclass

from rbcluster.hs.descriptor.document import Layer, Section, encode_base64, encode_item
from rbcluster.hs.keys import PublicKey
from rbcluster.hs.params import KEY_BYTES, MIDDLE_LAYER_MULTIPLE

CLIENT_ID_BYTES = 8
IV_BYTES = 16
COOKIE_BYTES = 16
_AUTH_TYPE = "x25519"
_MESSAGE = "MESSAGE"


class EphemeralKey(PublicKey):
    """The X25519 key that clients' keys are combined with (`KP_hss_desc_enc`, 32 bytes)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthClient:
    """One auth-client line: the descriptor cookie, encrypted to one client, or random bytes."""

    client_id: bytes  # 8 bytes; tells a client which line is its own
    iv: bytes  # 16 bytes
    cookie: bytes  # 16 bytes, encrypted


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddleLayer:
    """What the middle layer says."""

    ephemeral_key: EphemeralKey
    clients: tuple[AuthClient, ...]  # real or fake: only a client knows
    encrypted: bytes  # the inner layer, encrypted


def parse_middle(plaintext: bytes) -> MiddleLayer:
    """Read a decrypted middle layer, with or without its padding. Unknown lines are ignored.

    :raises ParseError: if a line is missing, doubled or malformed.
    """
    section = Section.parse(plaintext.partition(b"\0")[0], Layer.MIDDLE)
    auth_type = section.starting_with("desc-auth-type").one("desc-auth-type")
    if auth_type.arg(0) != _AUTH_TYPE:
        raise auth_type.fault(f"{auth_type.args[0][:32]!r} is not {_AUTH_TYPE!r}")
    return MiddleLayer(
        ephemeral_key=EphemeralKey(section.one("desc-auth-ephemeral-key").base64(0, KEY_BYTES)),
        clients=tuple(
            AuthClient(
                client_id=item.base64(0, CLIENT_ID_BYTES),
                iv=item.base64(1, IV_BYTES),
                cookie=item.base64(2, COOKIE_BYTES),
            )
            for item in section.some("auth-client")
        ),
        encrypted=section.one("encrypted").object(_MESSAGE),
    )


def encode_middle(layer: MiddleLayer) -> bytes:
    """Write the middle layer, padded to the next multiple of 10,000 bytes."""
    items = (
        encode_item("desc-auth-type", _AUTH_TYPE),
        encode_item("desc-auth-ephemeral-key", encode_base64(layer.ephemeral_key.raw)),
        *(_encode_client(client) for client in layer.clients),
        encode_item("encrypted", armour=_MESSAGE, data=layer.encrypted),
    )
    text = "".join(items).removesuffix("\n").encode("ascii")  # tor ends it without a newline
    return text + bytes(-len(text) % MIDDLE_LAYER_MULTIPLE)


def _encode_client(client: AuthClient) -> str:
    words = (client.client_id, client.iv, client.cookie)
    return encode_item("auth-client", *(encode_base64(word, padded=False) for word in words))
