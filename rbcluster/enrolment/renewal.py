"""A node's certificate renews itself, without a restart, at two thirds of its life.

A node that holds the authority certifies itself. Any other sends a signing request to one that
does, over the link whose certificate names it: so each node can renew its own and no other.

::

    node    {"kind": "renew", "pem": signing request}  ──>  issuer
    issuer  {"kind": "certificate", "pem": ...}        ──>  node: files replaced, shown from now on

Not here: links (`raft/`). They go on as they are; new ones show the new certificate.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rbcluster.certification import (
    Validity,
    begin_renewal,
    certify_request,
    finish_renewal,
)
from rbcluster.config import NodePaths
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.errors import ConfigError
from rbcluster.pki import holds_authority, load_authority

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0  # a certificate lives a year
HEED_EVERY_S = 60.0  # ours: between two requests of one node; signing holds the issuer's loop up
PREFIX = b"certificate:"
"""Begins every message of these, beside heartbeats."""


class Links(Protocol):
    """What is needed of the engine."""

    def tell(self, peer: NodeId, payload: bytes) -> bool:
        """Send a payload to one connected node; False if it is not connected."""

    def reload_certificate(self) -> None:
        """Show the certificate on disk to whoever connects from now on."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    kind: Literal["renew", "certificate"]
    pem: str = Field(max_length=10_000)

    def to_bytes(self) -> bytes:
        return PREFIX + self.model_dump_json().encode()


@dataclass(slots=True, kw_only=True)
class Renewal:
    """Keeps one node's certificate young, and those of others if it holds the authority."""

    node: NodeId
    paths: NodePaths
    links: Links
    issuers: Callable[[], Collection[NodeId]]  # those that say they hold the authority
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic_s: Callable[[], float] = time.monotonic
    ends_at: UnixMs | None = None  # when the certificate ends; None before the first look
    _heeded_at_s: dict[NodeId, float] = field(default_factory=dict)

    @property
    def _tls_dir(self) -> Path:
        return self.paths.tls_dir

    async def run(self) -> None:
        """Look for ever whether it is time."""
        while True:
            try:
                self.renew_if_due()
            except ConfigError as error:
                _LOG.warning("this node's certificate could not be renewed: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    def renew_if_due(self) -> None:
        """Certify a new key, here or by an issuer, if it is time.

        :raises ConfigError: if a file can't be read or written.
        """
        if self.now() < self._look().renew_at:
            return
        request = begin_renewal(self._tls_dir, self.node)
        if self.holds_authority():
            self._install(self._certify(self.node, request))
            return
        message = _Message(kind="renew", pem=request.decode()).to_bytes()
        asked = [issuer for issuer in sorted(self.issuers()) if self.links.tell(issuer, message)]
        if not asked:
            _LOG.warning("this node's certificate is to be renewed, but no issuer is connected")

    def _look(self) -> Validity:
        validity = Validity.of(self._tls_dir)
        self.ends_at = UnixMs(round(1000 * validity.ends_at.timestamp()))
        return validity

    def holds_authority(self) -> bool:
        """Tell whether this node can certify others, and renew its own certificate alone."""
        return holds_authority(self.paths.authority_dir)

    def _certify(self, node: NodeId, request: bytes) -> bytes:
        authority = load_authority(self.paths.authority_dir)
        return certify_request(authority, node, request, self.now())

    def _install(self, certificate: bytes) -> None:
        if finish_renewal(self._tls_dir, self.node, certificate):
            self._look()
            self.links.reload_certificate()
            _LOG.info("this node's certificate was renewed")

    def hear(self, sender: NodeId, payload: bytes) -> None:
        """Take a message from a member; what is wrong with it is logged."""
        try:
            message = _Message.model_validate_json(payload.removeprefix(PREFIX))
            self._heed(sender, message)
        except (ConfigError, ValidationError) as error:
            _LOG.warning("node=%s: its certificate could not be renewed: %s", sender, error)

    def _heed(self, sender: NodeId, message: _Message) -> None:
        if message.kind == "certificate":
            if sender in self.issuers():
                self._install(message.pem.encode())
        elif self.holds_authority() and self._is_turn_of(sender):
            certificate = self._certify(sender, message.pem.encode())
            _LOG.info("the certificate of node=%s is renewed", sender)
            answer = _Message(kind="certificate", pem=certificate.decode())
            self.links.tell(sender, answer.to_bytes())

    def _is_turn_of(self, sender: NodeId) -> bool:
        now_s = self.monotonic_s()
        if now_s - self._heeded_at_s.get(sender, float("-inf")) < HEED_EVERY_S:
            _LOG.debug("node=%s asks for a certificate again and again", sender)
            return False
        self._heeded_at_s[sender] = now_s
        return True
