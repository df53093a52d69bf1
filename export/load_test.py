"""Measures a served model under concurrent REST requests; the standard library alone.

python export/load_test.py --model=feed
python export/load_test.py --model=feed --csv=rows.csv --batch_size=1 --concurrency=8 --seconds=30

Each of --concurrency threads keeps one connection and sends its next request when it has read the
answer to the last, for --seconds. Latency is from sending a request until its whole answer is read,
by this client's clock; percentiles are of requests answered 200, by nearest rank. Client and server
share this machine's cores, so throughput is a lower bound of what the server can do.

Exit codes: 0 all answers were 200; 1 some were not; 2 flags or requests; 3 no answer at all.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import ipaddress
import itertools
import json
import math
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import client
import rest
import rows
from signature import InputError, read_signature

PERCENTILES = (50, 90, 95, 99)
MOST_SECONDS, MOST_THREADS, MOST_BODIES = 300, 64, 10_000
OK = 200
NOTHING = "no answer"
SAMPLE = Path(__file__).parent / "request.json"


@dataclass
class Measured:
    """Latencies and outcomes of some requests.

    Args:
        latencies: Seconds of each request that was answered 200.
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
    model = rest.Model(
        flags.url, flags.model, flags.version, flags.label, flags.timeout, dict(flags.header)
    )
    try:
        check_host(flags.url, flags.allow_remote)
        path, bodies = read_requests(flags, model)
        first = measure(model, path, bodies, 1, math.inf, min(flags.warm_up, 1))
    except InputError as error:
        return _say(error, client.UNUSABLE)
    except rest.RefusedError as error:
        return _say(error, client.REFUSED)
    except rest.NoAnswerError as error:
        return _say(error, client.NO_ANSWER)
    if NOTHING in first.outcomes:
        return _say(first.error, client.NO_ANSWER)

    measure(model, path, bodies, 1, math.inf, flags.warm_up - 1)
    found = measure(
        model, path, bodies, flags.concurrency, flags.seconds, flags.max_requests or math.inf
    )

    summary = summarize(found, flags.concurrency)
    print(json.dumps(summary, indent=2) if flags.json else table(summary))
    if found.error:
        print(f"first error: {found.error}", file=sys.stderr)
    return 0 if set(found.outcomes) == {str(OK)} else client.REFUSED


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    client.add_model_flags(parser)
    parser.add_argument(
        "--requests", type=Path, default=SAMPLE, help="JSON: a request's body, or a list of them"
    )
    parser.add_argument("--csv", type=Path, help="rows to make requests of instead")
    client.add_csv_flags(parser)
    parser.add_argument("--seconds", type=float, default=10.0, help=f"at most {MOST_SECONDS}")
    parser.add_argument("--concurrency", type=int, default=4, help=f"at most {MOST_THREADS}")
    parser.add_argument("--max_requests", type=int, default=0, help="stop then; 0: no such end")
    parser.add_argument("--warm_up", type=int, default=20, help="requests before, not counted")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--allow_remote", action="store_true", help="load a server that is not on this machine"
    )
    flags = parser.parse_args(argv)
    client.check_flags(parser, flags)
    if not 0 < flags.seconds <= MOST_SECONDS:
        parser.error(f"--seconds: found {flags.seconds}, expected above 0, to {MOST_SECONDS}")
    if not 1 <= flags.concurrency <= MOST_THREADS:
        parser.error(f"--concurrency: found {flags.concurrency}, expected 1 to {MOST_THREADS}")
    for name in ("max_requests", "warm_up"):
        if getattr(flags, name) < 0:
            parser.error(f"--{name}: found {getattr(flags, name)}, expected 0 or more")
    return flags


def check_host(url: str, allow_remote: bool) -> None:
    """Refuses a remote server: a load test of a server that others use is an attack on it.

    Raises:
        InputError: A host that is not this machine and was not allowed.
        rest.NoAnswerError: A host that has no address.
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        addresses = {found[4][0] for found in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise rest.NoAnswerError(f"{host}: no such host ({error})") from error
    local = all(ipaddress.ip_address(str(found).split("%")[0]).is_loopback for found in addresses)
    if not local and not allow_remote:
        raise InputError(
            f"--url: found {host}, expected this machine (localhost); --allow_remote loads others"
        )


def read_requests(flags: argparse.Namespace, model: rest.Model) -> tuple[str, list[bytes]]:
    """Returns the path of the requests, and the bodies that are sent there in turn.

    Raises:
        InputError: The file cannot be used.
        rest.RefusedError: The server does not know the model, which a CSV's requests need.
        rest.NoAnswerError: No server.
    """
    if flags.csv:
        signature = read_signature(model.signatures(), flags.signature)
        made = rows.make_requests(
            signature, client.read_flags(flags), flags.batch_size, flags.request_column
        )
        bodies = [rest.body(signature, request) for request in itertools.islice(made, MOST_BODIES)]
        path = model.path(rest.verb(signature))
    else:
        try:
            content = json.loads(flags.requests.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{flags.requests}: cannot be read as JSON ({error})") from error
        read = content if isinstance(content, list) else [content]
        if not all(isinstance(request, dict) for request in read):
            raise InputError(f"{flags.requests}: expected an object, or a list of objects")
        regress = {"examples" in request for request in read}
        if len(regress) > 1:
            raise InputError(f"{flags.requests}: found predict and regress requests together")
        bodies = [rest.encode(request) for request in read]
        path = model.path(":regress" if True in regress else ":predict")
    if not bodies:
        raise InputError(f"{flags.csv or flags.requests}: found no request")
    return path, bodies


def measure(
    model: rest.Model,
    path: str,
    bodies: Sequence[bytes],
    concurrency: int,
    seconds: float,
    most: float,
) -> Measured:
    """Sends requests from several threads until the time is up or enough were sent.

    Args:
        model: With its server, headers and timeout.
        path: Of the route.
        bodies: Sent in turn.
        concurrency: Threads.
        seconds: After which no request is sent.
        most: Largest number of requests.
    """
    found, lock, turns = Measured(), threading.Lock(), itertools.count()
    start = time.perf_counter()

    def work() -> None:
        connection = rest.connect(model.url, model.timeout)
        while (begun := time.perf_counter()) - start < seconds:
            with lock:
                turn = next(turns)
            if turn >= most:
                break
            outcome, error = _send(connection, model, path, bodies[turn % len(bodies)])
            latency = time.perf_counter() - begun
            with lock:
                found.outcomes[outcome] += 1
                found.error = found.error or error
                if outcome == str(OK):
                    found.latencies.append(latency)
            if outcome == NOTHING:  # else an absent server is called in a tight loop
                time.sleep(0.1)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - start
    return found


def _send(
    connection: http.client.HTTPConnection, model: rest.Model, path: str, body: bytes
) -> tuple[str, str]:
    """Sends one request; returns its outcome, and the server's message where it is an error."""
    try:
        status, answer = rest.exchange(connection, "POST", path, body, model.headers)
    except rest.NoAnswerError as error:
        return NOTHING, str(error)
    said = "" if status == OK else f"{status}: {answer[:300].decode('utf-8', 'replace')}"
    return str(status), said


def percentile(values: Sequence[float], rank: float) -> float:
    """Returns the smallest value that at least `rank` percent are not above; NaN of no values.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50), percentile([4.0, 1.0, 3.0, 2.0], 99)
    (2.0, 4.0)
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(rank / 100 * len(ordered)), 1) - 1] if ordered else math.nan


def summarize(found: Measured, concurrency: int) -> dict[str, Any]:
    """Returns counts, throughput and latencies in milliseconds, null where nothing was answered."""
    latencies = found.latencies
    milliseconds: dict[str, float] = {}
    if latencies:
        milliseconds["mean"] = sum(latencies) / len(latencies)
        milliseconds |= {f"p{rank}": percentile(latencies, rank) for rank in PERCENTILES}
        milliseconds["max"] = max(latencies)
    names = ["mean", *(f"p{rank}" for rank in PERCENTILES), "max"]
    return {
        "concurrency": concurrency,
        "seconds": round(found.seconds, 3),
        "requests": found.outcomes.total(),
        "answered_per_second": round(len(latencies) / found.seconds, 1),
        "outcomes": dict(sorted(found.outcomes.items())),
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


def _say(error: Exception | str, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
