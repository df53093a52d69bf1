"""Measures a served model under concurrent requests; by REST the standard library alone.

python export/load_test.py --model=feed
python export/load_test.py --model=feed --signature=rank --candidates=512 --grpc=localhost:8500
python export/load_test.py --model=feed --csv=rows.csv --batch_size=1 --concurrency=8 --seconds=30

Requests are made up from the model's metadata, or of a CSV's rows (--csv), or read from a file
(--requests). Each of --concurrency threads keeps one connection and sends its next request when it
has read the answer to the last, for --seconds. Latency is from sending a request until its whole
answer is read, by this client's clock; percentiles are of requests answered 200 (gRPC: OK), by
nearest rank. Client and server share this machine's cores, so throughput is a lower bound of what
the server can do.

Where requests are sent before, to warm the server up, the first one's answer is checked.

Exit codes: 0 all answers were 200; 1 some were not, or the first is no answer; 2 flags, requests or
output; 3 no answer at all; 4 ended early, after --most_refusals refusals in a row.
"""

from __future__ import annotations

import argparse
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from errors import (
    InputError,
    NoAnswerError,
    ReaderGoneError,
    RefusedError,
    ScriptError,
    StoppedError,
    say,
    writing,
)
from load_calls import read_calls
from load_summary import Measured, summarize, table
from script_flags import add_csv_flags, add_model_flags, check_flags, grpc_host, open_model

MOST_SECONDS, MOST_THREADS = 300, 64
NOTHING = "no answer"
# Statuses of requests that are refused however often they are sent, by REST and by gRPC. Others
# (429 and 503 of a server that has too much to do) are measured like answers.
REFUSED_FOR_GOOD = {"400", "401", "403", "404", "501"} | {
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "UNIMPLEMENTED",
}


def main(argv: Sequence[str]) -> int:
    """Sends requests for a while and prints a summary; returns the exit code."""
    flags = parse_flags(argv)
    try:
        check_host(flags)
        with contextlib.closing(open_model(flags)) as model:
            calls, check_answer = read_calls(flags, model)
            refusals = flags.most_refusals or math.inf
            warm_up(model, calls, check_answer, flags.warm_up, refusals)
        most = flags.max_requests or math.inf
        measured = measure(model, calls, flags.concurrency, flags.seconds, most, refusals)

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
    if measured.stopped:
        say(
            f"{flags.most_refusals} requests in a row were refused for what they are, as later "
            "ones would be (--most_refusals=0 goes on)",
            "stopped",
        )
        return StoppedError.exit_code
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
        "--requests", type=Path, help="JSON: a request's body, or a list; none: made up"
    )
    parser.add_argument("--csv", type=Path, help="rows to make requests of")
    add_csv_flags(parser)
    parser.add_argument("--seconds", type=float, default=10.0, help=f"at most {MOST_SECONDS}")
    parser.add_argument("--concurrency", type=int, default=4, help=f"at most {MOST_THREADS}")
    parser.add_argument("--max_requests", type=int, default=0, help="stop then; 0: no such end")
    parser.add_argument("--warm_up", type=int, default=20, help="requests before, not counted")
    parser.add_argument(
        "--most_refusals", type=int, default=10, help="in a row, then stop; 0: no such end"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--allow_remote", action="store_true", help="load a server that is not on this machine"
    )
    flags = parser.parse_args(argv)
    check_flags(parser, flags)
    _check_source(parser, flags)
    if not 0 < flags.seconds <= MOST_SECONDS:
        parser.error(f"--seconds: found {flags.seconds}, expected above 0, to {MOST_SECONDS}")
    if not 1 <= flags.concurrency <= MOST_THREADS:
        parser.error(f"--concurrency: found {flags.concurrency}, expected 1 to {MOST_THREADS}")
    for name in ("max_requests", "warm_up", "most_refusals"):
        if getattr(flags, name) < 0:
            parser.error(f"--{name}: found {getattr(flags, name)}, expected 0 or more")
    return flags


def _check_source(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    if flags.requests and flags.csv:
        parser.error("--requests and --csv: found both, expected one")
    if flags.requests and flags.grpc:
        parser.error("--requests and --grpc: found both, expected bodies with --url alone")
    for name in ("request_column", "missing", "column"):
        if getattr(flags, name) and not flags.csv:
            parser.error(f"--{name}: found without --csv, expected the rows that it is about")


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
    model: Any,
    calls: Sequence[Any],
    check_answer: Callable[[Any], object],
    count: int,
    refusals: float,
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
        measure(model, calls, 1, math.inf, count - 1, refusals)


def measure(
    model: Any,
    calls: Sequence[Any],
    concurrency: int,
    seconds: float,
    most: float,
    refusals: float,
) -> Measured:
    """Sends requests from several threads until the time is up or enough were sent or refused.

    Args:
        model: By REST or gRPC; each thread gets a connection of its own.
        calls: Of the model, sent in turn.
        concurrency: Threads.
        seconds: After which no request is sent.
        most: Largest number of requests.
        refusals: For good, in the order in which they arrive; after as many in a row it stops.
    """
    measured, lock, turns = Measured(), threading.Lock(), itertools.count()
    start = time.perf_counter()

    def work() -> None:
        connected = replace(model)
        while (begun := time.perf_counter()) - start < seconds:
            with lock:
                turn = next(turns)
            if turn >= most or measured.stopped:
                break
            outcome, error = _send(connected, calls[turn % len(calls)])
            latency = time.perf_counter() - begun
            with lock:
                measured.outcomes[outcome] += 1
                measured.error = measured.error or error
                measured.refusals = measured.refusals + 1 if outcome in REFUSED_FOR_GOOD else 0
                measured.stopped = measured.stopped or measured.refusals >= refusals
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
