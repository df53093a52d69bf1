"""Asks a served model about the rows of a CSV and prints what it answers.

python export/client.py rows.csv --model=feed
python export/client.py rows.csv --model=feed --signature=rank --request_column=request_id
python export/client.py rows.csv --model=feed --grpc=localhost:8500

The CSV's columns are named as the features; which there are, their dtypes and which are lists the
server says. Needs Python 3.11 alone; with --grpc the package's `serving` extra too.

Exit codes: 0 all rows were answered; 1 the server refused; 2 flags or CSV; 3 no answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import rest
import rows
from signature import DEFAULT_SIGNATURE, InputError, Signature, read_signature

REFUSED, UNUSABLE, NO_ANSWER = 1, 2, 3


def main(argv: Sequence[str]) -> int:
    """Sends request by request and prints each one's answers before the next is sent.

    Returns:
        The exit code.
    """
    flags = parse_flags(argv)
    try:
        model = open_model(flags)
        signature = read_signature(model.signatures(), flags.signature)
        show = Printer(sys.stdout, flags.output, tuple(flags.keep), signature.outputs)
        for request in rows.make_requests(
            signature, read_flags(flags), flags.batch_size, flags.request_column
        ):
            try:
                answers = model.ask(signature, request)
            except rest.RefusedError as error:
                first, last = request.rows[0].line, request.rows[-1].line
                raise rest.RefusedError(f"{flags.csv}:{first}-{last}: {error}") from error
            show.rows(request.rows, by_row(signature, answers))
    except InputError as error:
        return _say(error, UNUSABLE)
    except rest.RefusedError as error:
        return _say(error, REFUSED)
    except rest.NoAnswerError as error:
        return _say(error, NO_ANSWER)
    except BrokenPipeError:  # who reads the answers has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path, help="rows to ask about; .csv or .csv.gz")
    add_model_flags(parser)
    add_csv_flags(parser)
    parser.add_argument("--grpc", default="", help="host:port, to ask by gRPC instead of --url")
    parser.add_argument("--output", choices=("csv", "jsonl"), default="csv")
    parser.add_argument(
        "--keep", type=_names, default=[], help="columns to print before the answers, a,b"
    )
    flags = parser.parse_args(argv)
    check_flags(parser, flags)
    return flags


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose a model, and how it is called."""
    parser.add_argument("--url", default="http://localhost:8501", help="of the REST server")
    parser.add_argument("--model", default="feed", help="its name on the server")
    parser.add_argument("--version", default="", help="a version's number; none: the newest")
    parser.add_argument("--label", default="", help="a version's label instead")
    parser.add_argument("--signature", default=DEFAULT_SIGNATURE)
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds an answer may take")
    parser.add_argument(
        "--header", type=_pair(":"), action="append", default=[], help="'Name: value', repeatable"
    )


def add_csv_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that define how a CSV is read."""
    parser.add_argument("--batch_size", type=int, default=128, help="rows a request")
    parser.add_argument(
        "--request_column", default="", help="rank: rows with one value of it are one request"
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
        rest.connect(flags.url, flags.timeout)
    except ValueError as error:
        parser.error(f"--url: {error}")
    if flags.version and not flags.version.isdecimal():
        parser.error(f"--version: found {flags.version}, expected a version's number")
    if flags.version and flags.label:
        parser.error("--version and --label: found both, expected one")
    if not 0 < flags.timeout < math.inf:
        parser.error(f"--timeout: found {flags.timeout}, expected seconds above 0")
    if flags.batch_size < 1:
        parser.error(f"--batch_size: found {flags.batch_size}, expected 1 or more")
    if flags.list_width < 0:
        parser.error(f"--list_width: found {flags.list_width}, expected 0 or more")
    if not flags.list_separator:
        parser.error("--list_separator: found nothing, expected a character")


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
    except ImportError as error:
        raise InputError(
            f"--grpc: needs tensorflow-serving-api, pip install 'lt4rec_tf[serving]' ({error})"
        ) from error
    return grpc_calls.Model(flags.grpc, flags.model, **chosen)


def read_flags(flags: argparse.Namespace) -> rows.Reading:
    """Returns how the CSV is read."""
    return rows.Reading(
        flags.csv,
        columns=dict(flags.column),
        missing=dict(flags.missing),
        list_separator=flags.list_separator,
        list_width=flags.list_width,
    )


def by_row(signature: Signature, answers: dict[str, list]) -> dict[str, list]:
    """Returns the answers with one place per row of the request.

    A server that batches pads short candidate lists; places beyond the rows are cut later.
    """
    if signature.kind == "candidates":
        return {name: answers[name][0] for name in signature.outputs}
    return {name: answers[name] for name in signature.outputs}


class Printer:
    """Prints one line per row: kept columns, then answers.

    Args:
        file: To print to.
        form: "csv" or "jsonl".
        kept: Columns of the CSV.
        outputs: Names of the answers.
    """

    def __init__(
        self, file: TextIO, form: str, kept: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        self._file, self._form, self._kept, self._outputs = file, form, kept, outputs
        self._lines = csv.writer(file, lineterminator="\n")
        self._begun = False

    def rows(self, requested: Sequence[rows.Row], answers: dict[str, list]) -> None:
        """Prints the answers about some rows.

        Raises:
            InputError: No such column to keep.
            rest.RefusedError: Fewer answers than rows.
        """
        short = [name for name in self._outputs if len(answers[name]) < len(requested)]
        if short:
            raise rest.RefusedError(
                f"{short[0]}: fewer answers than the {len(requested)} rows asked"
            )

        if self._form == "csv" and not self._begun:
            self._lines.writerow([*self._kept, *self._outputs])
        self._begun = True

        for index, row in enumerate(requested):
            absent = [name for name in self._kept if name not in row.cells]
            if absent:
                raise InputError(f"--keep: found {absent[0]}, expected a column of the CSV")

            cells = {name: row.cells[name] for name in self._kept}
            outputs = {name: answers[name][index] for name in self._outputs}
            if self._form == "csv":
                self._lines.writerow([*cells.values(), *outputs.values()])
            else:
                finite = {name: _finite(value) for name, value in outputs.items()}
                print(json.dumps(cells | finite, ensure_ascii=False), file=self._file)
        self._file.flush()


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pair(sign: str) -> Any:
    def read(text: str) -> tuple[str, str]:
        name, found, value = text.partition(sign)
        if not found or not name.strip():
            raise argparse.ArgumentTypeError(f"found {text}, expected name{sign}value")
        return name.strip(), value.strip() if sign == ":" else value

    return read


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _say(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
