"""The tables of the benchmarks say what the rounds showed."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cold, handshake
from benchmarks.__main__ import cost_of_a_reused_token
from benchmarks.handshake import handshake_seconds
from benchmarks.measure import Load, Row, Run, ab_figures
from benchmarks.report import cold_table, table, users_table
from benchmarks.servers import (
    OURS,
    Sts,
    our_peers,
    signing,
    write_certificate,
)
from benchmarks.users import ask_as_users

RUN = Run(
    replies=10_000,
    good=10_000,
    errors=0,
    seconds=5.0,
    p50_ms=1.0,
    p99_ms=2.0,
    sts_calls=1,
    cpu_seconds=4.0,
    sts_cpu_seconds=0.01,
    megabytes=50.0,
)
ROW = Row(OURS, Load(8), [RUN], 0.3)


def test_each_row_has_the_median_of_its_rounds_beside_ours() -> None:
    runs = [
        replace(RUN, replies=replies, good=2_000, p99_ms=5.0, errors=1)
        for replies in (2_500, 2_000, 5_500)
    ]

    lines = table([ROW, replace(ROW, peer="peer", runs=runs)]).splitlines()

    assert lines[1] == "**8 connections kept alive**"
    assert lines[5] == (
        f"| {OURS} | 2,000 | 2,000 to 2,000 | 1.00 | 1.0 | 2.0 | 1.00 | 100.00% | 0.1 "
        "| 400 | 50 | 0.30 |  |"
    )
    assert lines[6] == (
        "| peer | 500 | 400 to 1,100 | 0.25 | 1.0 | 5.0 | 2.50 | 60.00% | 0.3 | 1,600 "
        "| 50 | 0.30 | 3 errors |"
    )


def test_a_stand_in_that_sets_the_pace_is_named() -> None:
    slow = replace(ROW, peer="peer", runs=[replace(RUN, sts_cpu_seconds=4.0)])

    *_, ours, peer = table([ROW, slow]).splitlines()

    assert "bottleneck" not in ours
    assert peer.endswith("| the stand-in is the bottleneck |")


def test_each_load_has_a_table_that_says_what_clients_do() -> None:
    loads = [
        Load(64, is_kept=False),
        Load(64, is_kept=False, key="P-256"),
        Load(64, is_kept=False, key="P-256", resumes=True),
        Load(64, quota=100),
    ]

    lines = table([replace(ROW, load=load) for load in loads]).splitlines()

    assert [line for line in lines if line.startswith("**")] == [
        "**64 connections at a time, one for each request**",
        "**64 connections at a time, one for each request, TLS with P-256, whole "
        "handshakes**",
        "**64 connections at a time, one for each request, TLS with P-256, sessions "
        "resumed**",
        "**64 connections kept alive, STS allows 100 calls/s**",
    ]


def test_a_start_is_shown_with_its_parts() -> None:
    lines = cold_table({OURS: {"Python": 0.012, "together": 0.5}}).splitlines()

    assert lines[3] == "| server | Python | together |"
    assert lines[5] == f"| {OURS} | 12 | 500 |"


def test_what_ab_prints_is_read() -> None:
    output = """
Time taken for tests:   2.500 seconds
Complete requests:      1970
Failed requests:        3
   (Connect: 0, Receive: 0, Length: 3, Exceptions: 0)
Non-2xx responses:      2

  50%     52
  99%    284
 100%   1072 (longest request)
"""

    assert ab_figures(output) == {
        "replies": 1970,
        "good": 1965,
        "errors": 5,
        "seconds": 2.5,
        "p50_ms": 52.0,
        "p99_ms": 284.0,
    }


def test_the_cost_of_a_reused_token_is_measured() -> None:
    assert 0 < cost_of_a_reused_token(10) < 0.01


def test_a_handshake_is_measured_whole_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKES", 3)
    write_certificate(tmp_path / "both.pem", "P-256")

    for resumes in (False, True):
        assert 0 < handshake_seconds(tmp_path / "both.pem", resumes) < 1


@pytest.mark.process
@pytest.mark.slow
def test_users_of_forms_or_urls_share_a_call_and_users_of_tokens_do_not(
    tmp_path: Path,
) -> None:
    (ours,) = our_peers(None)
    with contextlib.closing(Sts(None)) as sts:
        found = [ask_as_users(p, 20, sts, tmp_path) for p in [ours, *signing(ours)]]

    assert [(one.good, one.own, one.calls) for one in found] == [
        (20, 20, 20),
        (20, 20, 1),
        (20, 20, 1),
    ]
    rows = users_table(found).splitlines()[5:]
    assert rows[1].startswith(f"| {OURS}, forms, HS256 logins | 20 | 20 | 20 | 1 |")


def test_the_parts_of_a_start_are_what_each_stage_adds() -> None:
    rounds = [
        {"Python": 0.02, "STS SDK": 0.3, "token": 0.5},
        {"Python": 0.01, "STS SDK": 0.9, "token": 0.4},
        {"Python": 0.03, "STS SDK": 0.2, "token": 0.6},
    ]

    parts = cold.parts_of(rounds)

    assert parts == pytest.approx(
        {
            "Python": 0.02,
            "STS SDK": 0.28,
            cold.REST: 0.18,
            "AssumeRole": 0.02,
            "together": 0.5,
        }
    )
