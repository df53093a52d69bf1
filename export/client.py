"""Asks a served model about the rows of a CSV and prints what it answers.

python export/client.py rows.csv --model=feed
python export/client.py rows.csv --model=feed --signature=rank --request_column=request_id
python export/client.py rows.csv --model=feed --grpc=localhost:8500

The CSV's columns are named as the features; which there are, their dtypes and which are lists the
server says. Needs Python 3.11 alone; with --grpc the package's `serving` extra too.

Exit codes: 0 all rows were answered; 1 the server refused, or its answer is none to the request;
2 flags, CSV or output; 3 no answer, or not a whole one within --timeout.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import answers
from errors import InputError, ReaderGoneError, RefusedError, ScriptError, say, writing
from request import make_requests
from rows import Row
from script_flags import add_csv_flags, add_model_flags, check_flags, open_model, read_flags
from signature import read_signature


def main(argv: Sequence[str]) -> int:
    """Sends request by request and prints each one's answers before the next is sent.

    Returns:
        The exit code.
    """
    flags = parse_flags(argv)
    try:
        with contextlib.closing(open_model(flags)) as model:
            ask_about_rows(flags, model)
    except ReaderGoneError as error:
        return error.exit_code
    except ScriptError as error:
        say(error)
        return error.exit_code
    return 0


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path, help="rows to ask about; .csv or .csv.gz")
    add_model_flags(parser)
    add_csv_flags(parser)
    parser.add_argument("--output", choices=("csv", "jsonl"), default="csv")
    parser.add_argument(
        "--keep", type=_names, default=[], help="columns to print before the answers, a,b"
    )
    flags = parser.parse_args(argv)
    check_flags(parser, flags)
    return flags


def ask_about_rows(flags: argparse.Namespace, model: Any) -> None:
    """Asks a model about all rows of the CSV and prints the answers.

    Raises:
        ScriptError: What ends the script, with its exit code.
    """
    signature = read_signature(model.signatures(), flags.signature)
    outputs = tuple(output.name for output in signature.outputs)
    printer = Printer(flags.output, tuple(flags.keep), outputs)

    for request in make_requests(
        signature, read_flags(flags), flags.batch_size, flags.request_column
    ):
        try:
            by_row = answers.ask(model, signature, request)
        except RefusedError as error:
            first, last = request.rows[0].line, request.rows[-1].line
            raise RefusedError(f"{flags.csv}:{first}-{last}: {error}", error.status) from error
        printer.rows(request.rows, by_row)


class Printer:
    """Prints one line per row to standard output: kept columns, then answers.

    Args:
        form: "csv" or "jsonl".
        kept: Columns of the CSV.
        outputs: Names of the answers.

    Raises:
        InputError: A kept column of an answer's name, which JSON cannot hold twice.
    """

    def __init__(self, form: str, kept: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        twice = sorted(set(kept) & set(outputs))
        if form == "jsonl" and twice:
            raise InputError(f"--keep: found {twice[0]}, which is an answer, expected another name")
        self._form, self._kept, self._outputs = form, kept, outputs
        self._begun = False

    def rows(self, requested: Sequence[Row], answers: dict[str, list]) -> None:
        """Prints the answers about some rows.

        Raises:
            InputError: No such column to keep, or the output cannot be written.
        """
        for name in self._kept:
            if name not in requested[0].cells:
                raise InputError(f"--keep: found {name}, expected a column of the CSV")

        with writing():
            if self._form == "csv" and not self._begun:
                self._print_cells([*self._kept, *self._outputs])
            self._begun = True
            for index, row in enumerate(requested):
                cells = {name: row.cells[name] for name in self._kept}
                outputs = {name: answers[name][index] for name in self._outputs}
                if self._form == "csv":
                    self._print_cells([*cells.values(), *outputs.values()])
                else:
                    print(json.dumps(cells | _finite(outputs), ensure_ascii=False))

    def _print_cells(self, cells: list) -> None:
        csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
