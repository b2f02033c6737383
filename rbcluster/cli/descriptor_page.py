"""An opened descriptor as a page, and as JSON.

What stands out is what keeps visitors away: an expired certificate, no introduction point, two on
one relay (clients look a point up again by its relay, and find the first).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rbcluster.cli.phrasing import count, duration, printable
from rbcluster.hs.descriptor.link_specifiers import relay_addresses, relay_ed25519_id
from rbcluster.hs.descriptor.open import Descriptor
from rbcluster.hs.params import CERT_LIFETIME, DEFAULT_INTERVAL_MIN, MAX_INTRO_POINTS
from rbcluster.hs.time_period import HsTimes, TimePeriod

_PUBLIC_TIMES = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))


def describe(descriptor: Descriptor, now: datetime) -> dict[str, object]:
    """Return everything as a JSON value; instants are ISO 8601, keys and fingerprints hexadecimal.

    :param now: aware instant; only `expired` depends on it.
    """
    traits = descriptor.traits
    return {
        "address": str(descriptor.address),
        "period": descriptor.period.number,
        "period_length_minutes": descriptor.period.length_min,
        "revision": descriptor.revision,
        "lifetime_minutes": descriptor.lifetime // timedelta(minutes=1),
        "certified_at": (descriptor.signing_cert_expires_at - CERT_LIFETIME).isoformat(),
        "expires_at": descriptor.expires_at.isoformat(),
        "expired": descriptor.expires_at <= now,
        "blinded_key": str(descriptor.blinded_key),
        "signing_key": str(descriptor.signing_key),
        "bytes": {
            "outer": descriptor.sizes.outer,
            "middle": descriptor.sizes.middle,
            "inner": descriptor.sizes.inner,
        },
        "create2_formats": list(traits.create2_formats),
        "flow_control": list(traits.flow_control) if traits.flow_control else None,
        "single_onion_service": traits.single_onion_service,
        "intro_auth_required": list(traits.intro_auth_required),
        "pow_params": descriptor.pow_params,
        "restricted": descriptor.restricted,
        "auth_client_lines": descriptor.num_auth_clients,
        "intro_points": list(_points(descriptor)),
    }


def _points(descriptor: Descriptor) -> Iterator[dict[str, object]]:
    shadows = shadowed_points(descriptor)
    for index, point in enumerate(descriptor.points):
        ed25519_id = relay_ed25519_id(point)
        yield {
            "relay": str(point.relay),
            "relay_ed25519_id": None if ed25519_id is None else str(ed25519_id),
            "relay_addresses": list(relay_addresses(point)),
            "auth_key": str(point.auth_key),
            "enc_key": str(point.enc_key),
            "onion_key": str(point.onion_key),
            "expires_at": descriptor.points_expire_at[index].isoformat(),
            "shadowed_by": shadows.get(index),
        }


def shadowed_points(descriptor: Descriptor) -> dict[int, int]:
    """Find points that no client ever reaches, since another on the same relay stands before them.

    :returns: index of the point -> index of the one before it; both count from 0.
    """
    relays = [point.relay for point in descriptor.points]
    first = {index: relays.index(relay) for index, relay in enumerate(relays)}
    return {index: before for index, before in first.items() if before != index}


def render_descriptor(descriptor: Descriptor, now: datetime) -> RenderableType:
    """Draw the page.

    :param now: aware instant from which ages are counted.
    """
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(descriptor, now):
        facts.add_row(name, value)
    return Padding(
        Group(
            _headline(descriptor, now),
            Text(str(descriptor.address), style="bold"),
            Text(),
            facts,
            Text(),
            *_point_table(descriptor),
        ),
        (1, 1),
        expand=False,
    )


def _headline(descriptor: Descriptor, now: datetime) -> Text:
    if descriptor.expires_at <= now:
        age = duration((now - descriptor.expires_at).total_seconds())
        verdict = (" EXPIRED ", "bold white on red")
        return Text.assemble(verdict, f"  {age} ago: clients refuse it")
    if not descriptor.points:
        verdict = (" EMPTY ", "bold white on red")
        return Text.assemble(verdict, "  no introduction point: nobody can reach the service")
    if shadows := len(shadowed_points(descriptor)):
        verdict = (" VALID ", "bold black on yellow")
        return Text.assemble(verdict, f"  but {count(shadows, 'introduction point')} out of reach")
    return Text.assemble((" VALID ", "bold black on green"), "  every signature and date holds")


def _facts(descriptor: Descriptor, now: datetime) -> Iterator[tuple[str, str]]:
    traits, sizes = descriptor.traits, descriptor.sizes
    certified_at = descriptor.signing_cert_expires_at - CERT_LIFETIME
    yield "period", _period(descriptor.period)
    yield "revision", str(descriptor.revision)
    yield "certified", f"about {_instant(min(certified_at, now), now)}"  # dated in full hours
    yield "expires", _instant(descriptor.expires_at, now)
    yield "lifetime", f"{descriptor.lifetime // timedelta(minutes=1)} min at an HSDir"
    yield (
        "bytes",
        f"{sizes.outer:,}, of which middle layer {sizes.middle:,}, inner layer {sizes.inner:,}",
    )
    if traits.flow_control:
        versions, increment = traits.flow_control
        yield "flow control", f"{printable(versions)}, sendme-inc {increment}"
    else:
        yield "flow control", "not offered: downloads are slower"
    yield "proof of work", printable(descriptor.pow_params or "not asked for")
    yield (
        "clients",
        (
            "authorized ones only"
            if descriptor.restricted
            else f"everybody ({descriptor.num_auth_clients} auth-client lines, as fakes)"
        ),
    )
    if traits.single_onion_service:
        yield "service", "single onion: it does not hide where it is"
    if traits.intro_auth_required:
        yield "intro auth", printable(", ".join(traits.intro_auth_required))
    yield "blinded key", str(descriptor.blinded_key)
    yield "signing key", str(descriptor.signing_key)


def _period(period: TimePeriod) -> str:
    """Name a period; its dates are known for the public network only."""
    if period.length_min != DEFAULT_INTERVAL_MIN:
        return f"{period.number} of {period.length_min} min"
    start, end = (p.start(_PUBLIC_TIMES) for p in (period, period.next()))
    return f"{period.number}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _instant(instant: datetime, now: datetime) -> str:
    seconds = (instant - now).total_seconds()
    span = f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"
    return f"{instant:%Y-%m-%d %H:%M} UTC, {span}"


def _point_table(descriptor: Descriptor) -> Iterator[RenderableType]:
    num_points = len(descriptor.points)
    yield Text(
        f"{count(num_points, 'introduction point')}, {MAX_INTRO_POINTS} at most", style="bold"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("", justify="right")
    table.add_column("relay", no_wrap=True)
    table.add_column("address", overflow="fold")
    table.add_column("auth key", no_wrap=True)
    shadows = shadowed_points(descriptor)
    for index, point in enumerate(descriptor.points):
        lines = list(relay_addresses(point))
        if index in shadows:
            lines.append(f"out of reach: {shadows[index] + 1} has the same relay")
        style = "yellow" if index in shadows else ""
        cells = (str(index + 1), str(point.relay), "\n".join(lines), str(point.auth_key)[:8])
        table.add_row(*(Text(cell, style=style) for cell in cells))
    if num_points:
        yield table
