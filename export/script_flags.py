"""Flags that client.py and load_test.py share: the model that is called, how a CSV is read."""

from __future__ import annotations

import argparse
import re
import urllib.parse
from typing import Any

import rest
from errors import InputError
from http_connection import split_address
from rows import Reading
from signature import DEFAULT_SIGNATURE

MOST_SECONDS = 86_400.0
MOST_ROWS, MOST_PLACES = 1_000_000, 10_000
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OF_THE_BODY = ("content-length", "transfer-encoding")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose a model, and how it is called."""
    parser.add_argument("--url", default="http://localhost:8501", help="of the REST server")
    parser.add_argument("--grpc", default="", help="host:port, to call by gRPC instead of --url")
    parser.add_argument("--model", default="feed", help="its name on the server")
    parser.add_argument("--version", default="", help="a version's number; none: the newest")
    parser.add_argument("--label", default="", help="a version's label instead")
    parser.add_argument("--signature", default=DEFAULT_SIGNATURE)
    parser.add_argument(
        "--timeout", type=float, default=30.0, help="seconds a whole answer may take"
    )
    parser.add_argument(
        "--header", type=_pair(":"), action="append", default=[], help="'Name: value', repeatable"
    )


def add_csv_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that define how a CSV is read."""
    parser.add_argument("--batch_size", type=int, default=128, help="rows a request")
    parser.add_argument(
        "--request_column", default="", help="rank: rows with one value of it are one request"
    )
    parser.add_argument(
        "--candidates",
        type=_sizes,
        default=(),
        help="rank: fill a request up to the next of these numbers of candidates (64,128,256), so "
        "that a server that batches without padding can join requests; answers are of the rows",
    )
    parser.add_argument("--list_separator", default="|", help="between a list's values, or json")
    parser.add_argument(
        "--list_width", type=int, default=0, help="places of every list; 0: of the longest"
    )
    parser.add_argument(
        "--missing",
        type=_pair("="),
        action="append",
        default=[],
        help="feature=value that empty cells and lists' ends get, repeatable; "
        "without it strings get the empty one, floats NaN, integers are refused",
    )
    parser.add_argument(
        "--column",
        type=_pair("="),
        action="append",
        default=[],
        help="feature=column where the CSV calls it otherwise, repeatable",
    )


def check_flags(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    """Exits with 2 and names the flag where a value is impossible."""
    try:
        split_address(flags.url)
    except ValueError as error:
        parser.error(f"--url: {error}")
    if flags.grpc and not grpc_host(flags.grpc):
        parser.error(f"--grpc: found {flags.grpc}, expected host:port")
    if flags.grpc and flags.header:
        parser.error("--header and --grpc: found both, expected headers with --url alone")
    _check_version(parser, flags)
    for name, value in flags.header:
        _check_header(parser, name, value)

    if not 0 < flags.timeout <= MOST_SECONDS:
        parser.error(
            f"--timeout: found {flags.timeout}, expected seconds above 0, to {MOST_SECONDS:.0f}"
        )
    if not 1 <= flags.batch_size <= MOST_ROWS:
        parser.error(f"--batch_size: found {flags.batch_size}, expected 1 or more, to {MOST_ROWS}")
    if not 0 <= flags.list_width <= MOST_PLACES:
        parser.error(
            f"--list_width: found {flags.list_width}, expected 0 or more, to {MOST_PLACES}"
        )
    if not flags.list_separator:
        parser.error("--list_separator: found nothing, expected a character")


def _check_version(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    for name in ("model", "label"):
        if not _is_utf8(getattr(flags, name)):
            parser.error(f"--{name}: found {getattr(flags, name)!r}, expected UTF-8")
    if not flags.model:
        parser.error("--model: found nothing, expected a model's name")
    is_number = re.fullmatch("[0-9]{1,19}", flags.version) and int(flags.version) < 2**63
    if flags.version and not is_number:
        parser.error(f"--version: found {flags.version}, expected a version's number")
    if flags.version and flags.label:
        parser.error("--version and --label: found both, expected one")


def _check_header(parser: argparse.ArgumentParser, name: str, value: str) -> None:
    if not HEADER_NAME.fullmatch(name) or name.lower() in OF_THE_BODY:
        parser.error(f"--header: found the name {name!r}, expected one of a header of your own")
    if not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
        parser.error(f"--header: {name}: found {value!r}, expected one line of Latin-1 text")


def grpc_host(target: str) -> str:
    """Returns the host of "host:port"; "" where it is not of that form."""
    try:
        address = urllib.parse.urlsplit(f"//{target}")
        port = address.port
    except ValueError:
        return ""
    is_target = re.fullmatch(r"[!-~]+", target) and address.netloc == target and port
    return address.hostname or "" if is_target and "@" not in target else ""


def open_model(flags: argparse.Namespace) -> Any:
    """Returns the model by REST, or by gRPC where --grpc names a port.

    Raises:
        InputError: --grpc without the packages that it needs.
    """
    chosen = {"version": flags.version, "label": flags.label, "timeout": flags.timeout}
    if not flags.grpc:
        return rest.Model(flags.url, flags.model, **chosen, headers=dict(flags.header))
    try:
        import grpc_calls
    except Exception as error:  # packages of versions that do not fit each other fail in many ways
        raise InputError(
            f"--grpc: needs tensorflow-serving-api, pip install 'lt4rec_tf[serving]' ({error})"
        ) from error
    return grpc_calls.Model(flags.grpc, flags.model, **chosen)


def read_flags(flags: argparse.Namespace) -> Reading:
    """Returns how the CSV is read."""
    return Reading(
        flags.csv,
        columns=dict(flags.column),
        missing=dict(flags.missing),
        list_separator=flags.list_separator,
        list_width=flags.list_width,
        candidates=flags.candidates,
    )


def _pair(sign: str) -> Any:
    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition(sign)
        if not found or not name.strip():
            raise argparse.ArgumentTypeError(f"found {text}, expected name{sign}value")
        return name.strip(), value.strip(" \t") if sign == ":" else value

    return read


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    are_whole = all(re.fullmatch("[0-9]{1,7}", part) for part in parts)
    sizes = tuple(map(int, parts)) if are_whole else ()
    ascending = list(sizes) == sorted(set(sizes))
    if not sizes or not ascending or sizes[0] < 1 or sizes[-1] > MOST_ROWS:
        raise argparse.ArgumentTypeError(
            f"found {text}, expected ascending numbers from 1 to {MOST_ROWS}, 64,128,256"
        )
    return sizes


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
