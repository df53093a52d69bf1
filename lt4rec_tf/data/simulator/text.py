"""Writes rows of the simulated feed as text, without Python per row, into atomic gzip shards.

A column is a (rows, width) array of ASCII codes in which 0 means "no character here"; columns are
set side by side and the zeros dropped.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import appearing_whole
from lt4rec_tf.data.simulator.exposure import NETWORKS, Impressions
from lt4rec_tf.data.simulator.feed import Outcomes, Truth
from lt4rec_tf.data.simulator.moods import MoodImpressions, MoodTruth
from lt4rec_tf.data.simulator.purchases import ShopOutcomes, ShopTruth
from lt4rec_tf.data.simulator.reactions import REACTIONS, ReactionOutcomes, ReactionTruth
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
# Of a feed with reactions.
REACTION_COLUMNS = {**COLUMNS, **dict.fromkeys(REACTIONS, int)}
REACTION_TRUTH_COLUMNS = (*TRUTH_COLUMNS, *(f"{reaction}_probability" for reaction in REACTIONS))
# Of a feed with moods.
MOOD_COLUMNS = {**COLUMNS, "request_id": str, "time_ms": int}
MOOD_TRUTH_COLUMNS = (
    *TRUTH_COLUMNS,
    "click_probability_without_mood",
    "expected_watch_ratio_without_mood",
)
TAG_SEPARATOR = "|"
TRUTH_DECIMALS = 6
COMPRESSION = 1  # three times as fast as the usual 6, a fifth larger


def impressions_to_csv(
    world: World, day: int, impressions: Impressions, outcomes: Outcomes
) -> bytes:
    """Writes rows as lines of a CSV file, columns as in (SHOP_, REACTION_, MOOD_)COLUMNS.

    Args:
        world: The population.
        day: From 0.
        impressions: (rows,).
        outcomes: (rows,) of the impressions.
    """
    videos, users = world.videos, world.users
    columns = [
        _ids_of_day(day, "i", impressions.number),
        _prefixed("u", impressions.user),
        _prefixed("v", impressions.video),
        _prefixed("p", videos.publisher[impressions.video]),
        _prefixed("c", videos.category[impressions.video]),
        _tags(videos.tags[impressions.video]),
        _sources(impressions.source),
        digits(impressions.position),
        digits(impressions.hour),
        digits(np.full_like(impressions.hour, day)),
        decimals(videos.duration[impressions.video], 1),
        digits(users.age_group[impressions.user]),
        _words(DEVICES)[users.device[impressions.user]],
        _words(NETWORKS)[impressions.network],
        decimals(videos.cover_quality[impressions.video], 3),
        digits(outcomes.click),
        decimals(outcomes.play_time, 3),
    ]

    if isinstance(outcomes, ShopOutcomes):
        columns += [
            decimals(outcomes.price, 2),
            digits(outcomes.purchase),
            decimals(outcomes.amount, 2),
        ]
    if isinstance(outcomes, ReactionOutcomes):
        columns += [digits(reacted) for reacted in outcomes.reactions.T]
    if isinstance(impressions, MoodImpressions):
        columns += [_ids_of_day(day, "r", impressions.request), digits(impressions.time)]
    return _to_lines(columns)


def truth_to_csv(day: int, impressions: Impressions, truth: Truth) -> bytes:
    """Writes the truth of rows as lines of a CSV file, by kind of feed as their columns."""
    columns = [truth.click, truth.watch_ratio]
    if isinstance(truth, ShopTruth):
        columns += [truth.purchase, truth.amount]
    if isinstance(truth, ReactionTruth):
        columns += [*truth.reactions.T]
    if isinstance(truth, MoodTruth):
        columns += [truth.click_without_mood, truth.watch_ratio_without_mood]

    scale = 10**TRUTH_DECIMALS
    texts = [
        decimals(np.rint(scale * values).astype(np.int64), TRUTH_DECIMALS) for values in columns
    ]
    return _to_lines([_ids_of_day(day, "i", impressions.number), *texts])


def digits(values: Array, least: int = 1) -> Array:
    r"""Writes whole numbers as text.

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
    """Writes decimal fractions as text.

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
    """Opens a gzip CSV file that appears under its name once it is whole.

    The bytes hold no time of writing, so equal rows give equal files.

    Args:
        path: The file; its folder exists.
        header: Names of the columns.
    """
    with (
        appearing_whole(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file,
    ):
        file.write((",".join(header) + "\n").encode())
        yield file


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
                texts = line.split(b",")
                row = {}
                for (name, kind), text in zip(columns.items(), texts, strict=True):
                    row[name] = _typed(name, kind, text)
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


def _ids_of_day(day: int, kind: str, number: Array) -> Array:
    """Writes ids of what is numbered within a day, such as impressions ("i")."""
    prefix = _word(f"d{day}{kind}", len(number))
    return np.concatenate([prefix, digits(number)], axis=1)


def _prefixed(prefix: str, ids: Array) -> Array:
    return np.concatenate([_word(prefix, len(ids)), digits(np.maximum(ids, 0))], axis=1)


def _sources(source: Array) -> Array:
    """Writes the ids of source videos, "-1" where there is none."""
    text = _prefixed("v", source)
    missing = source < 0
    text[missing] = 0
    text[missing, :2] = _word("-1", 1)
    return text


def _tags(tags: Array) -> Array:
    """Writes the tags of each row, (rows, MAX_TAGS), between separators."""
    parts = []
    for index in range(MAX_TAGS):
        tag = tags[:, index]
        text = _prefixed("t" if index == 0 else TAG_SEPARATOR + "t", tag)
        parts.append(np.where(tag[:, None] < 0, 0, text).astype(np.uint8))
    return np.concatenate(parts, axis=1)


def _word(word: str, rows: int) -> Array:
    """Returns the codes of one word in every row, (rows, letters)."""
    return np.broadcast_to(np.frombuffer(word.encode(), np.uint8), (rows, len(word)))


def _words(words: Iterable[str]) -> Array:
    """Returns the codes of some words, one a row, (words, width)."""
    encoded = np.array([word.encode() for word in words])
    return encoded.view(np.uint8).reshape(len(encoded), -1)


def _to_lines(columns: list[Array]) -> bytes:
    """Joins columns of codes: a comma between two of them, a line end behind the last."""
    rows = len(columns[0])
    parts = []
    for column in columns:
        parts += [column, _word(",", rows)]
    parts[-1] = _word("\n", rows)

    text = np.concatenate(parts, axis=1).ravel()
    return text[text != 0].tobytes()
