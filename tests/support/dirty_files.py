"""Faults of input files, for the tests of what becomes of them: rows and files of every reader."""

import gzip
from pathlib import Path

import tensorflow as tf

from lt4rec_tf.data.audit.checks import bad_row_count
from lt4rec_tf.data.audit.findings import Audit
from tests.support.feeds import COLUMNS, example, good_row, line, schema, write_lines, write_records

READERS = ("csv", "tsv", "tfrecord")
DELIMITERS = {"csv": ",", "tsv": "\t"}
JOIN = '\n[[joins]]\nfile = "users.csv"\nformat = "csv"\nkey = "user"\n'

# A row's fault -> what is changed of a good, clicked row 7; and the reason.
CHANGED_ROWS = {
    "none": ({}, "usable"),
    "latin-1 in a feature": ({"video": "Größe"}, "usable"),
    "nul in a feature": ({"video": "v\0"}, "usable"),
    "no click": ({"click": ""}, "missing_label"),
    "no play time": ({"play_time": ""}, "missing_label"),
    "click out of range": ({"click": "2"}, "bad_label"),
    "click below its range": ({"click": "-1"}, "bad_label"),
    "infinite play time": ({"play_time": "inf"}, "bad_label"),
    "infinite duration": ({"length": "inf"}, "bad_label"),
    "nan play time": ({"play_time": "nan"}, "negative_play_time"),
    "play time below 0": ({"play_time": "-1"}, "negative_play_time"),
    "nan duration": ({"length": "nan"}, "zero_duration"),
    "duration below 0": ({"length": "-9"}, "zero_duration"),
    "no time": ({"day": ""}, "bad_time"),
    "time below 0": ({"day": "-1"}, "bad_time"),
    "nan time": ({"day": "nan"}, "bad_time"),
    "infinite time": ({"day": "inf"}, "bad_time"),
    "nul in the time": ({"day": "1\0"}, "bad_time"),
}
OF_TEXT = {
    "nan click": ({"click": "nan"}, "bad_label"),
    "infinite click": ({"click": "inf"}, "bad_label"),
    "text for a click": ({"click": "yes"}, "bad_label"),
    "nul in a label": ({"click": "1\0"}, "bad_label"),
}


def row_of(reader: str, **changes: str) -> bytes:
    row = good_row(7, **changes)
    return example(row) if reader == "tfrecord" else line(row, DELIMITERS[reader])


def bad_rows(reader: str) -> dict[str, tuple[bytes, str]]:
    """By fault the record, and the reason under which it is counted."""
    changed = CHANGED_ROWS | (OF_TEXT if reader != "tfrecord" else {})
    made = {fault: (row_of(reader, **changes), why) for fault, (changes, why) in changed.items()}
    whole = row_of(reader)
    if reader == "tfrecord":
        other_kind = tf.train.Example.FromString(whole)
        other_kind.features.feature["click"].bytes_list.value.append(b"1")
        return made | {
            "an empty record": (b"", "bad_time"),
            "a record cut off": (whole[:-3], "unparseable"),
            "no record at all": (b"\xff\xfe\0", "unparseable"),
            "a column of another kind": (other_kind.SerializeToString(), "usable"),
        }
    made["latin-1 in a feature"] = (whole.replace(b"v7", b"Gr\xf6\xdfe"), "usable")
    mark = DELIMITERS[reader].encode()
    faults = {
        "too few columns": (whole.rpartition(mark)[0], "columns"),
        "too many columns": (whole + mark, "columns"),
        "utf-16 in the middle": (whole.decode().encode("utf-16-le"), "bad_time"),
        "binary": (b"\x00\xff\xfe\x80", "columns"),
    }
    if reader == "csv":
        faults["an open quote"] = (whole.replace(b"v7", b'"v7'), "columns")
    return made | faults


def write_feed(folder: Path, reader: str, join: bool = False) -> dict[str, Path]:
    """Two shards of 20 good rows, plain and gzip, and their schema; the paths by name."""
    for name, first in ((f"a.{reader}", 0), (f"b.{reader}.gz", 20)):
        rows = [good_row(number) for number in range(first, first + 20)]
        if reader == "tfrecord":
            write_records(folder / name, [example(row) for row in rows])
        else:
            write_lines(folder / name, [line(row, DELIMITERS[reader]) for row in rows])
    schema(folder, reader, glob=f"?.{reader}*")
    path = folder / "small.toml"
    path.write_text(path.read_text() + (JOIN if join else ""))
    (folder / "users.csv").write_text("user,age\nu0,7\nu1,8\n")
    return {"a": folder / f"a.{reader}", "b": folder / f"b.{reader}.gz", "schema": path}


def names_of(reader: str, *names: str) -> bytes:
    """A line of column names."""
    return DELIMITERS[reader].join(names or COLUMNS).encode() + b"\n"


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Replaces in a plain file the first place of something that must be there."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def halve(path: Path) -> None:
    """Cuts a file off; one of equal records a byte behind one, as between two it would be whole."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])


def flip(path: Path) -> None:
    """Turns a bit in the middle over."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def recode(path: Path, encoding: str) -> None:
    path.write_bytes(path.read_bytes().decode().encode(encoding))


def empty_files(reader: str) -> dict[str, bytes]:
    """Shards without a row: the name's first letter, and the content."""
    if reader == "tfrecord":
        return {"c": b"", "d": gzip.compress(b"")}
    names = names_of(reader)
    return {"c": b"", "d": gzip.compress(b""), "e": names, "f": gzip.compress(names)}


def listed_count(found: Audit) -> int:
    """The rows that an audit lists: bad ones of the logs, left-out ones of side tables."""
    return bad_row_count(found) + sum(found.join_unusable_rows.values())
