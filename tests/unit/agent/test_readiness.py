"""Why a node could not publish: each reason alone, and none for a node that is well."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rbcluster.agent.readiness import (
    MAX_CLOCK_OFFSET_MS,
    Senses,
    clock_faults,
    publishing_faults,
)
from rbcluster.tor.settings import TorStatus
from tests.shared.virtual_time import unix_ms
from tests.unit.agent.world import SITE, START, consensus

VIEW = consensus()
WELL = Senses(
    tor=TorStatus(connected=True),
    consensus=VIEW,
    services_without_key=(),
    clock_offset_ms=0,
    wall_ms=unix_ms(START),
    disk_fault=None,
)
EXPIRED = VIEW.valid_until + (VIEW.valid_until - VIEW.valid_after)


def at(instant: datetime) -> Senses:
    return replace(WELL, wall_ms=unix_ms(instant))


def test_node_that_is_well_has_no_faults() -> None:
    assert publishing_faults(WELL) == ()


@pytest.mark.parametrize(
    ("senses", "fault"),
    [
        (replace(WELL, tor=TorStatus()), "tor's control port does not answer"),
        (replace(WELL, tor=TorStatus(connected=True, faults=("options",))), "options"),
        (replace(WELL, consensus=None), "tor has no consensus yet"),
        (at(EXPIRED + timedelta(seconds=1)), "tor's consensus expired at 2026-03-01 18:00 UTC"),
        (
            replace(WELL, services_without_key=(SITE,)),
            f"no master key for {SITE.shortened()} on this node",
        ),
        (
            replace(WELL, clock_offset_ms=MAX_CLOCK_OFFSET_MS + 1_000),
            "this clock is +31 s off the median of the voters: set it by NTP",
        ),
        (
            replace(WELL, clock_offset_ms=-MAX_CLOCK_OFFSET_MS - 1_000),
            "this clock is -31 s off the median of the voters: set it by NTP",
        ),
        (
            at(VIEW.valid_after - timedelta(milliseconds=1)),
            "this clock is behind tor's consensus: set it by NTP",
        ),
        (replace(WELL, disk_fault="the disk is full"), "the disk is full"),
    ],
)
def test_each_fault_is_one_sentence(senses: Senses, fault: str) -> None:
    assert publishing_faults(senses) == (fault,)


@pytest.mark.parametrize(
    "senses",
    [
        at(EXPIRED),
        at(VIEW.valid_after),
        replace(WELL, clock_offset_ms=MAX_CLOCK_OFFSET_MS),
        replace(WELL, clock_offset_ms=-MAX_CLOCK_OFFSET_MS),
    ],
)
def test_the_limits_themselves_are_no_faults(senses: Senses) -> None:
    assert publishing_faults(senses) == ()


def test_unreachable_tor_is_told_by_its_reason_alone() -> None:
    reason = "can't run 'tor'; install tor"
    senses = replace(WELL, tor=TorStatus(faults=(reason,)), consensus=None)
    assert publishing_faults(senses) == (reason,)


def test_several_faults_are_all_told() -> None:
    senses = replace(WELL, consensus=None, disk_fault="disk", services_without_key=(SITE,))
    assert len(publishing_faults(senses)) == 3


def test_a_clock_is_trusted_whatever_else_is_wrong() -> None:
    assert not list(clock_faults(replace(WELL, tor=TorStatus(), consensus=None)))
