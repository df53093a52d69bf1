"""The summary of a load test: counts by status, throughput, latency percentiles."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PERCENTILES = (50, 90, 95, 99)


@dataclass
class Measured:
    """Latencies and outcomes of some requests.

    Args:
        latencies: Seconds of each request that was answered 200 (gRPC: OK).
        outcomes: Status, or NOTHING -> number of requests.
        seconds: From the first request's start to the last one's end.
        error: The first error that a server's answer named.
        refusals: Since the last other outcome, requests that the server refused for what they are.
        stopped: The sending ended early, because refusals were too many.
    """

    latencies: list[float] = field(default_factory=list)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0
    error: str = ""
    refusals: int = 0
    stopped: bool = False


def percentile(values: Sequence[float], rank: float) -> float:
    """Returns the smallest value that at least `rank` percent are not above; NaN of no values.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50), percentile([4.0, 1.0, 3.0, 2.0], 99)
    (2.0, 4.0)
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(rank / 100 * len(ordered)), 1) - 1] if ordered else math.nan


def summarize(measured: Measured, concurrency: int) -> dict[str, Any]:
    """Returns counts, throughput and latencies in milliseconds, null where nothing was answered."""
    latencies = measured.latencies
    milliseconds: dict[str, float] = {}
    if latencies:
        milliseconds["mean"] = sum(latencies) / len(latencies)
        milliseconds |= {f"p{rank}": percentile(latencies, rank) for rank in PERCENTILES}
        milliseconds["max"] = max(latencies)
    names = ["mean", *(f"p{rank}" for rank in PERCENTILES), "max"]
    return {
        "concurrency": concurrency,
        "seconds": round(measured.seconds, 3),
        "requests": measured.outcomes.total(),
        "answered_per_second": round(len(latencies) / measured.seconds, 1),
        "outcomes": dict(sorted(measured.outcomes.items())),
        "latency_ms": {
            name: round(1000 * milliseconds[name], 3) if latencies else None for name in names
        },
    }


def table(summary: dict[str, Any]) -> str:
    """Formats the summary as lines of text."""
    lines = [
        f"{summary['requests']} requests in {summary['seconds']} s, "
        f"{summary['concurrency']} at a time: {summary['answered_per_second']} answers/s"
    ]
    lines += [f"  {outcome:<10} {count}" for outcome, count in summary["outcomes"].items()]
    lines += [f"  {name:<5} {value} ms" for name, value in summary["latency_ms"].items()]
    return "\n".join(lines)
