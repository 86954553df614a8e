"""The tables of a run, in Markdown, as in README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.measure import Row
from benchmarks.servers import OURS
from benchmarks.users import Users

COLUMNS = (
    "server",
    "requests/s",
    "of rounds",
    "to ours",
    "p50 ms",
    "p99 ms",
    "to ours",
    "good",
    "STS calls/1000",
    "CPU µs/request",
    "MB",
    "first token s",
    "",
)


def table(rows: Sequence[Row]) -> str:
    """Return all rows as tables, one for each load."""
    lines = []
    for load in dict.fromkeys(row.load for row in rows):
        group = [row for row in rows if row.load == load]
        (ours,) = [row for row in group if row.peer == OURS]
        lines += ["", f"**{load.title}**", "", *heading(COLUMNS)]
        lines += ["| " + " | ".join(cells(row, ours)) + " |" for row in group]
    return "\n".join(lines)


def heading(columns: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]


def cells(row: Row, ours: Row) -> list[str]:
    replies = max(1, sum(run.replies for run in row.runs))
    errors = sum(run.errors for run in row.runs)
    # The stand-in is one process on one core; near its limit it sets the pace.
    is_bound = row.median(lambda run: run.sts_cpu_seconds / run.seconds) > 0.7
    notes = ["the stand-in is the bottleneck"] if is_bound else []
    notes += [f"{errors} errors"] if errors else []
    rates = [run.per_second for run in row.runs]
    cpu = row.median(lambda run: run.cpu_seconds / max(1, run.replies))
    return [
        row.peer,
        f"{row.per_second:,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{row.per_second / ours.per_second:.2f}",
        f"{row.median(lambda run: run.p50_ms):.1f}",
        f"{row.p99_ms:.1f}",
        f"{row.p99_ms / ours.p99_ms:.2f}",
        f"{sum(run.good for run in row.runs) / replies:.2%}",
        f"{sum(run.sts_calls for run in row.runs) / replies * 1000:.3g}",
        f"{cpu * 1e6:,.0f}",
        f"{max(run.megabytes for run in row.runs):.0f}",
        f"{row.first_token_seconds:.2f}",
        "; ".join(notes),
    ]


def cold_table(starts: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of the parts of each start, in milliseconds."""
    (parts, *_) = starts.values()
    lines = ["", "**Start to first token, milliseconds**", ""]
    lines += heading(["server", *parts])
    for name, found in starts.items():
        figures = [f"{seconds * 1000:.0f}" for seconds in found.values()]
        lines.append("| " + " | ".join([name, *figures]) + " |")
    return "\n".join(lines)


def users_table(found: Sequence[Users]) -> str:
    """Return a table of the replies to many users, each of whom asked once."""
    columns = ["server", "users", "good", "each its own", "AssumeRole calls"]
    lines = ["", "**Different users, each once**", ""]
    lines += heading([*columns, "seconds", "MB before", "MB after"])
    for one in found:
        figures = [
            *[f"{n:,}" for n in (one.users, one.good, one.own, one.calls)],
            f"{one.seconds:.0f}",
            f"{one.megabytes_before:.0f}",
            f"{one.megabytes:.0f}",
        ]
        lines.append("| " + " | ".join([one.peer, *figures]) + " |")
    return "\n".join(lines)
