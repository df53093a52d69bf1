"""How the simulated feed is written: rows as text, without Python per row, and atomic gzip shards.

A column is a (rows, width) array of ASCII codes in which 0 means "no character here"; columns are
set side by side and the zeros dropped.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import appearing_whole
from lt4rec_tf.data.simulator.exposure import NETWORKS, Impressions
from lt4rec_tf.data.simulator.feed import Outcomes, Truth
from lt4rec_tf.data.simulator.purchases import ShopOutcomes, ShopTruth
from lt4rec_tf.data.simulator.world import DEVICES, MAX_TAGS, Array, World

# Name and type of every column of an impression, in the order of the file.
COLUMNS = {
    "impression_id": str,
    "user_id": str,
    "video_id": str,
    "publisher_id": str,
    "category": str,
    "tags": str,
    "source_video_id": str,
    "position": int,
    "hour": int,
    "day": int,
    "duration_s": float,
    "age_group": int,
    "device": str,
    "network": str,
    "cover_quality": float,
    "click": int,
    "play_time_s": float,
}
TRUTH_COLUMNS = ("impression_id", "click_probability", "expected_watch_ratio")
# Of a feed with purchases.
SHOP_COLUMNS = {**COLUMNS, "price": float, "purchase": int, "amount": float}
SHOP_TRUTH_COLUMNS = (*TRUTH_COLUMNS, "purchase_probability", "expected_amount")
TAG_SEPARATOR = "|"
TRUTH_DECIMALS = 6
COMPRESSION = 1  # three times as fast as the usual 6, a fifth larger


def impressions_to_csv(world: World, day: int, shown: Impressions, happened: Outcomes) -> bytes:
    """The rows as lines of a CSV file, columns as in COLUMNS, or SHOP_COLUMNS with purchases.

    Args:
        world: The population.
        day: From 0.
        shown: (rows,) impressions.
        happened: (rows,) what became of them.
    """
    videos, users = world.videos, world.users
    columns = [
        _impression_ids(day, shown.number),
        _prefixed("u", shown.user),
        _prefixed("v", shown.video),
        _prefixed("p", videos.publisher[shown.video]),
        _prefixed("c", videos.category[shown.video]),
        _tags(videos.tags[shown.video]),
        _sources(shown.source),
        digits(shown.position),
        digits(shown.hour),
        digits(np.full_like(shown.hour, day)),
        decimals(videos.duration[shown.video], 1),
        digits(users.age_group[shown.user]),
        _words(DEVICES)[users.device[shown.user]],
        _words(NETWORKS)[shown.network],
        decimals(videos.cover_quality[shown.video], 3),
        digits(happened.click),
        decimals(happened.play_time, 3),
    ]
    if isinstance(happened, ShopOutcomes):
        columns += [
            decimals(happened.price, 2),
            digits(happened.purchase),
            decimals(happened.amount, 2),
        ]
    return _to_lines(columns)


def truth_to_csv(day: int, shown: Impressions, truth: Truth) -> bytes:
    """The truth of the rows as lines of a CSV file, columns as in (SHOP_)TRUTH_COLUMNS."""
    known = [truth.click, truth.watch_ratio]
    if isinstance(truth, ShopTruth):
        known += [truth.purchase, truth.amount]
    numbers = (
        decimals(np.rint(10**TRUTH_DECIMALS * values).astype(np.int64), TRUTH_DECIMALS)
        for values in known
    )
    return _to_lines([_impression_ids(day, shown.number), *numbers])


def digits(values: Array, least: int = 1) -> Array:
    r"""Whole numbers as text.

    Args:
        values: (rows,) integers >= 0.
        least: Digits at least; shorter numbers get leading zeros.

    Returns:
        (rows, width) uint8 ASCII codes, 0 where a number is shorter than the longest.

    >>> digits(np.array([7, 42])).tobytes()
    b'\x00742'
    """
    width = max(least, len(str(values.max(initial=0))))
    powers = 10 ** np.arange(width - 1, -1, -1)
    quotients = values[:, None] // powers
    text = (quotients % 10 + ord("0")).astype(np.uint8)
    text[(quotients == 0) & (powers >= 10**least)] = 0
    return text


def decimals(values: Array, places: int) -> Array:
    """Decimal fractions as text.

    Args:
        values: (rows,) integers, in units of 10^-places.
        places: Digits behind the point.

    Returns:
        (rows, width) uint8 ASCII codes, 0 for no character.

    >>> decimals(np.array([-1250]), 3).tobytes()
    b'-1.250'
    """
    whole, fraction = np.divmod(np.abs(values), 10**places)
    sign = np.where(values < 0, ord("-"), 0).astype(np.uint8)[:, None]
    point = _word(".", len(values))
    return np.concatenate([sign, digits(whole), point, digits(fraction, least=places)], axis=1)


@contextmanager
def gzip_shard(path: Path, header: Iterable[str]) -> Iterator[gzip.GzipFile]:
    """Opens a gzip CSV file that appears under its name once it is whole; the bytes hold no time.

    Args:
        path: The file; its folder exists.
        header: Names of the columns.
    """
    with appearing_whole(path) as temporary, temporary.open("wb") as raw:
        with gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file:
            file.write((",".join(header) + "\n").encode())
            yield file
        raw.flush()
        os.fsync(raw.fileno())


def write_tfrecord(
    path: Path, csv_blocks: Iterable[bytes], columns: Mapping[str, type] = COLUMNS
) -> None:
    """Writes rows of CSV as a gzip file of tf.train.Example, one feature for each column.

    Ids are bytes lists of one value, tags of one value a tag, numbers int64 and float lists. One
    Python step a row: some twenty times slower than CSV.

    Args:
        path: The file; its folder exists.
        csv_blocks: Lines without a header, as `impressions_to_csv` makes them.
        columns: Name and type of each column of the lines.
    """
    import tensorflow as tf  # only here: the simulator itself does without

    from lt4rec_tf.data.formats.examples import encode_row

    with appearing_whole(path) as temporary, tf.io.TFRecordWriter(str(temporary), "GZIP") as file:
        for block in csv_blocks:
            for line in block.splitlines():
                # The simulator's own values hold no comma and no quote.
                values = zip(columns.items(), line.split(b","), strict=True)
                row = {name: _typed(name, kind, value) for (name, kind), value in values}
                file.write(encode_row(row))


def _typed(name: str, kind: type, value: bytes) -> tuple[str, list[Any]]:
    """Returns the dtype and the values that one value of a line has in an Example."""
    if name == "tags":
        return "string", value.split(TAG_SEPARATOR.encode()) if value else []
    if kind is int:
        return "int64", [int(value)]
    if kind is float:
        return "float32", [float(value)]
    return "string", [value]


def _impression_ids(day: int, number: Array) -> Array:
    prefix = _word(f"d{day}i", len(number))
    return np.concatenate([prefix, digits(number)], axis=1)


def _prefixed(prefix: str, ids: Array) -> Array:
    return np.concatenate([_word(prefix, len(ids)), digits(np.maximum(ids, 0))], axis=1)


def _sources(source: Array) -> Array:
    text = _prefixed("v", source)
    missing = source < 0
    text[missing] = 0
    text[missing, :2] = _word("-1", 1)
    return text


def _tags(tags: Array) -> Array:
    parts = []
    for place in range(MAX_TAGS):
        tag = tags[:, place]
        text = _prefixed("t" if place == 0 else TAG_SEPARATOR + "t", tag)
        parts.append(np.where(tag[:, None] < 0, 0, text).astype(np.uint8))
    return np.concatenate(parts, axis=1)


def _word(word: str, rows: int) -> Array:
    """(rows, letters) codes of one word in every row."""
    return np.broadcast_to(np.frombuffer(word.encode(), np.uint8), (rows, len(word)))


def _words(words: Iterable[str]) -> Array:
    """(words, width) codes, one word a row."""
    encoded = np.array([word.encode() for word in words])
    return encoded.view(np.uint8).reshape(len(encoded), -1)


def _to_lines(columns: list[Array]) -> bytes:
    rows = len(columns[0])
    separated = [part for column in columns for part in (column, _word(",", rows))]
    separated[-1] = _word("\n", rows)
    text = np.concatenate(separated, axis=1).ravel()
    return text[text != 0].tobytes()
