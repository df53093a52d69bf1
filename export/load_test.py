"""Measures a served model under concurrent requests; by REST the standard library alone.

python export/load_test.py --model=feed
python export/load_test.py --model=feed --csv=rows.csv --batch_size=1 --concurrency=8 --seconds=30
python export/load_test.py --model=feed --csv=rows.csv --grpc=localhost:8500

Each of --concurrency threads keeps one connection and sends its next request when it has read the
answer to the last, for --seconds. Latency is from sending a request until its whole answer is read,
by this client's clock; percentiles are of requests answered 200 (gRPC: OK), by nearest rank. Client
and server share this machine's cores, so throughput is a lower bound of what the server can do.
Where requests are sent before, to warm the server up, the first one's answer is checked.

Exit codes: 0 all answers were 200; 1 some were not, or the first is no answer; 2 flags, requests or
output; 3 no answer at all.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ipaddress
import itertools
import json
import math
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from errors import (
    InputError,
    NoAnswerError,
    ReaderGoneError,
    RefusedError,
    ScriptError,
    say,
    writing,
)
from load_calls import read_calls
from script_flags import add_csv_flags, add_model_flags, check_flags, grpc_host, open_model

PERCENTILES = (50, 90, 95, 99)
MOST_SECONDS, MOST_THREADS = 300, 64
NOTHING = "no answer"
SAMPLE = Path(__file__).parent / "request.json"


@dataclass
class Measured:
    """Latencies and outcomes of some requests.

    Args:
        latencies: Seconds of each request that was answered 200 (gRPC: OK).
        outcomes: Status, or NOTHING -> number of requests.
        seconds: From the first request's start to the last one's end.
        error: The first error that a server's answer named.
    """

    latencies: list[float] = field(default_factory=list)
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0
    error: str = ""


def main(argv: Sequence[str]) -> int:
    """Sends requests for a while and prints a summary; returns the exit code."""
    flags = parse_flags(argv)
    try:
        check_host(flags)
        with contextlib.closing(open_model(flags)) as model:
            calls, check_answer = read_calls(flags, model)
            warm_up(model, calls, check_answer, flags.warm_up)
        measured = measure(
            model, calls, flags.concurrency, flags.seconds, flags.max_requests or math.inf
        )

        summary = summarize(measured, flags.concurrency)
        with writing():
            print(json.dumps(summary, indent=2) if flags.json else table(summary))
    except ReaderGoneError as error:
        return error.exit_code
    except ScriptError as error:
        say(error)
        return error.exit_code

    if measured.error:
        say(measured.error, "first error")
    if set(measured.outcomes) == {NOTHING}:
        return NoAnswerError.exit_code
    return 0 if set(measured.outcomes) == {model.ok} else RefusedError.exit_code


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_flags(parser)
    parser.add_argument(
        "--requests", type=Path, default=SAMPLE, help="JSON: a request's body, or a list of them"
    )
    parser.add_argument("--csv", type=Path, help="rows to make requests of instead")
    add_csv_flags(parser)
    parser.add_argument("--seconds", type=float, default=10.0, help=f"at most {MOST_SECONDS}")
    parser.add_argument("--concurrency", type=int, default=4, help=f"at most {MOST_THREADS}")
    parser.add_argument("--max_requests", type=int, default=0, help="stop then; 0: no such end")
    parser.add_argument("--warm_up", type=int, default=20, help="requests before, not counted")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--allow_remote", action="store_true", help="load a server that is not on this machine"
    )
    flags = parser.parse_args(argv)
    check_flags(parser, flags)
    if flags.grpc and not flags.csv:
        parser.error("--grpc: found without --csv, expected rows to make its requests of")
    if not 0 < flags.seconds <= MOST_SECONDS:
        parser.error(f"--seconds: found {flags.seconds}, expected above 0, to {MOST_SECONDS}")
    if not 1 <= flags.concurrency <= MOST_THREADS:
        parser.error(f"--concurrency: found {flags.concurrency}, expected 1 to {MOST_THREADS}")
    for name in ("max_requests", "warm_up"):
        if getattr(flags, name) < 0:
            parser.error(f"--{name}: found {getattr(flags, name)}, expected 0 or more")
    return flags


def check_host(flags: argparse.Namespace) -> None:
    """Refuses a remote server: a load test of a server that others use is an attack on it.

    Raises:
        InputError: A host that is not this machine and was not allowed.
        NoAnswerError: A host that has no address.
    """
    flag = "--grpc" if flags.grpc else "--url"
    host = grpc_host(flags.grpc) if flags.grpc else urllib.parse.urlsplit(flags.url).hostname
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise NoAnswerError(f"{host}: no such host ({error})") from error

    local = all(
        ipaddress.ip_address(str(address).split("%")[0]).is_loopback for address in addresses
    )
    if not local and not flags.allow_remote:
        raise InputError(
            f"{flag}: found {host}, expected this machine (localhost); --allow_remote loads others"
        )


def warm_up(
    model: Any, calls: Sequence[Any], check_answer: Callable[[Any], object], count: int
) -> None:
    """Sends requests that are not counted, and checks the first one's answer.

    Raises:
        NoAnswerError: Nothing came back to the first.
        RefusedError: It was answered with success, but not with an answer to it.
    """
    if count:
        try:
            answer = model.send(calls[0])
        except RefusedError:
            pass  # as those that follow it may be, which are counted
        else:
            check_answer(answer)
        measure(model, calls, 1, math.inf, count - 1)


def measure(
    model: Any, calls: Sequence[Any], concurrency: int, seconds: float, most: float
) -> Measured:
    """Sends requests from several threads until the time is up or enough were sent.

    Args:
        model: By REST or gRPC; each thread gets a connection of its own.
        calls: Of the model, sent in turn.
        concurrency: Threads.
        seconds: After which no request is sent.
        most: Largest number of requests.
    """
    measured, lock, turns = Measured(), threading.Lock(), itertools.count()
    start = time.perf_counter()

    def work() -> None:
        connected = replace(model)
        while (begun := time.perf_counter()) - start < seconds:
            with lock:
                turn = next(turns)
            if turn >= most:
                break
            outcome, error = _send(connected, calls[turn % len(calls)])
            latency = time.perf_counter() - begun
            with lock:
                measured.outcomes[outcome] += 1
                measured.error = measured.error or error
                if outcome == model.ok:
                    measured.latencies.append(latency)
            if outcome == NOTHING:  # else an absent server is called in a tight loop
                time.sleep(0.1)
        connected.close()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.seconds = time.perf_counter() - start
    return measured


def _send(model: Any, call: Any) -> tuple[str, str]:
    """Sends one request; returns its outcome, and the message where it is an error."""
    try:
        model.send(call)
    except NoAnswerError as error:
        return NOTHING, str(error)
    except RefusedError as error:
        return error.status, str(error)
    return model.ok, ""


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
