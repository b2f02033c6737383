"""What lasts is logged once; what passes is not."""

from __future__ import annotations

import logging

import pytest

from rbcluster.complaint import PATIENCE_S, Complaint
from rbcluster.instants import Monotonic

SUBJECT = "no link with cyd"


@pytest.fixture
def complaint(caplog: pytest.LogCaptureFixture) -> Complaint:
    caplog.set_level(logging.INFO)
    return Complaint(logging.getLogger("test"), SUBJECT)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_what_passes_in_time_is_not_logged(
    complaint: Complaint, caplog: pytest.LogCaptureFixture
) -> None:
    complaint.note("refused", now=Monotonic(100.0))
    complaint.note("refused", now=Monotonic(100.0 + PATIENCE_S - 0.1))
    complaint.note("", now=Monotonic(100.0 + PATIENCE_S))
    complaint.note("refused", now=Monotonic(200.0))  # counts anew
    assert logged(caplog) == []


def test_what_lasts_is_logged_once_and_so_is_its_end(
    complaint: Complaint, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(60):
        complaint.note("refused", now=Monotonic(100.0 + second))
    complaint.note("", now=Monotonic(160.0))
    complaint.note("", now=Monotonic(161.0))
    assert logged(caplog) == [
        ("WARNING", f"{SUBJECT}: refused"),
        ("INFO", f"{SUBJECT}: that is over"),
    ]


def test_other_words_for_what_lasts_are_logged_too(
    complaint: Complaint, caplog: pytest.LogCaptureFixture
) -> None:
    complaint.note("refused", now=Monotonic(100.0))
    complaint.note("timed out", now=Monotonic(100.0 + PATIENCE_S))
    complaint.note("refused", now=Monotonic(101.0 + PATIENCE_S))
    assert logged(caplog) == [
        ("WARNING", f"{SUBJECT}: timed out"),
        ("WARNING", f"{SUBJECT}: refused"),
    ]
