"""An Onionbalance v3 configuration, read: which services, whose keys, which backends.

Onionbalance knows a service by its key file, whose path counts from the configuration, and its
backends ("instances") by their addresses. What else stands there is named, not guessed at.

Not here: the key files (`tor/key_directory.py`); what is made of it (`cli/import_onionbalance.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rbcluster.errors import ConfigError, ParseError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedService:
    """One service that Onionbalance publishes."""

    key_file: Path  # absolute, or below the configuration's directory
    backends: tuple[OnionAddress, ...]  # without duplicates


@dataclass(frozen=True, slots=True, kw_only=True)
class OnionbalanceConfig:
    """A whole configuration."""

    services: tuple[BalancedService, ...]
    unused: tuple[str, ...]  # places of keys that mean nothing here


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Instance(_Lenient):
    address: str
    name: str | None = None  # Onionbalance's own, for its log


class _Service(_Lenient):
    key: str = Field(min_length=1)
    instances: list[_Instance] = Field(min_length=1)


class _Config(_Lenient):
    services: list[_Service] = Field(min_length=1)


def read_onionbalance(path: Path) -> OnionbalanceConfig:
    """Read an Onionbalance v3 configuration.

    :raises ConfigError: if it can't be read or breaks a rule; all faults are named, a line each.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = remedy_for(error, missing="name Onionbalance's config.yaml")
        raise ConfigError(f"{path}: can't be read: {error.strerror}: {remedy}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from error
    try:
        found = _Config.model_validate(raw)
    except ValidationError as error:
        told = (f"{path}: {_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise ConfigError("\n".join(told)) from error
    faults: list[str] = []
    services = tuple(
        BalancedService(
            key_file=path.parent / service.key, backends=_addresses(service, number, faults)
        )
        for number, service in enumerate(found.services)
    )
    if faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    return OnionbalanceConfig(services=services, unused=tuple(_unused(found)))


def _addresses(service: _Service, number: int, faults: list[str]) -> tuple[OnionAddress, ...]:
    """Read the addresses of a service's backends, and note those that are none."""
    addresses: dict[OnionAddress, None] = {}
    for index, instance in enumerate(service.instances):
        try:
            addresses[OnionAddress.parse(instance.address)] = None
        except ParseError as error:
            faults.append(f"services[{number}].instances[{index}].address: {error}")
    return tuple(addresses)


def _unused(found: _Config) -> list[str]:
    """List the keys that the models do not know."""
    tables: list[tuple[str, BaseModel]] = [("", found)]
    for number, service in enumerate(found.services):
        tables.append((f"services[{number}].", service))
        tables += [
            (f"services[{number}].instances[{index}].", instance)
            for index, instance in enumerate(service.instances)
        ]
    return [f"{place}{key}" for place, table in tables for key in table.model_extra or ()]


def _place(parts: tuple[Any, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".") or "the file"
