"""The table of the benchmarks says what the runs showed."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.__main__ import OURS, Row, cost_of_a_reused_token, table

RUN = Row(
    peer=OURS,
    quota=None,
    connections=8,
    keeps_alive=True,
    replies=10_000,
    tokens=10_000,
    errors=0,
    seconds=5.0,
    p50_ms=1.0,
    p99_ms=2.0,
    sts_calls=1,
    cpu_seconds=4.0,
    sts_cpu_seconds=0.01,
    megabytes=50.0,
    first_token_seconds=0.3,
)


def test_each_row_is_a_run_beside_ours() -> None:
    peer = replace(RUN, peer="peer", replies=2_500, tokens=2_000, p99_ms=5.0, errors=3)

    lines = table([RUN, peer]).splitlines()

    assert lines[1] == "**8 connections kept alive, no quota**"
    assert lines[5] == (
        f"| {OURS} | 8 | 2,000 | 1.00 | 1.0 | 2.0 | 1.00 | 100.00% | 0.1 | 400 | 50 "
        "| 0.30 |  |"
    )
    assert lines[6] == (
        "| peer | 8 | 500 | 0.25 | 1.0 | 5.0 | 2.50 | 80.00% | 0.4 | 1,600 | 50 "
        "| 0.30 | 3 errors |"
    )


def test_a_stand_in_that_sets_the_pace_is_named() -> None:
    slow = replace(RUN, peer="peer", sts_cpu_seconds=4.0)

    *_, ours, peer = table([RUN, slow]).splitlines()

    assert "bottleneck" not in ours
    assert peer.endswith("| the stand-in is the bottleneck |")


def test_the_cost_of_a_reused_token_is_measured() -> None:
    assert 0 < cost_of_a_reused_token(10) < 0.01
