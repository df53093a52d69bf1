"""Writes the log of a simulated video feed whose truth is known.

    <directory>/
        impressions/day_<dd>_part_<nnn>.csv.gz     the log (or .tfrecord.gz)
        truth/day_<dd>_part_<nnn>.csv.gz           the same rows' true probabilities
        manifest.json                              written last: the log is complete

The same settings give the same bytes. Memory is bounded by the population and one block of rows.
docs/simulator.md describes the model; `python -m lt4rec_tf.data.simulator --help` the command.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.artifacts import RunError, sha256, write_json
from lt4rec_tf.core.turns import in_turn
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.simulator.exposure import Impressions
from lt4rec_tf.data.simulator.feed import Feed, Outcomes
from lt4rec_tf.data.simulator.kinds import open_feed
from lt4rec_tf.data.simulator.moods import MoodFeed
from lt4rec_tf.data.simulator.purchases import ShopFeed, ShopOutcomes
from lt4rec_tf.data.simulator.reactions import REACTIONS, ReactionFeed, ReactionOutcomes
from lt4rec_tf.data.simulator.text import (
    COLUMNS,
    MOOD_COLUMNS,
    MOOD_TRUTH_COLUMNS,
    REACTION_COLUMNS,
    REACTION_TRUTH_COLUMNS,
    SHOP_COLUMNS,
    SHOP_TRUTH_COLUMNS,
    TRUTH_COLUMNS,
    gzip_shard,
    impressions_to_csv,
    truth_to_csv,
    write_tfrecord,
)
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError

# Raised by every change after which the same settings give other rows.
MODEL_VERSION = 1

MANIFEST = "manifest.json"
SUFFIXES = {"csv": ".csv.gz", "tfrecord": ".tfrecord.gz"}


@dataclass(frozen=True)
class Shard:
    """One file of the log with its truth; paths are relative to the directory."""

    impressions: str
    truth: str
    rows: int
    clicks: int
    completed: int  # clicked and watched to the end
    watched: float  # sum of the watch ratios of clicks
    impressions_sha256: str
    truth_sha256: str
    purchases: int | None = None  # None: a feed without purchases
    spent: float | None = None  # sum of the amounts
    reactions: dict[str, int] | None = None  # of each kind; None: a feed without reactions


@dataclass(frozen=True)
class Manifest:
    """The content of a complete directory."""

    model_version: int
    settings: FeedSettings  # resolved
    rows: int
    clicks: int
    click_rate: float
    complete_rate: float  # of clicks; 0 when nothing was clicked
    watch_ratio: float  # mean of clicks; 0 when nothing was clicked
    shards: tuple[Shard, ...]
    purchase_rate: float | None = None  # of clicks; None: a feed without purchases
    mean_amount: float | None = None  # of purchases; 0 when nothing was bought
    reaction_rates: dict[str, float] | None = None  # of clicks; None: a feed without reactions


def simulate(directory: Path | str, settings: FeedSettings) -> Manifest:
    """Writes a log with its truth, unless it is there already.

    A directory without a manifest is one whose writing was cut short; its shards are replaced.
    Of several processes that find none, one writes; the others wait and read what it wrote.

    Args:
        directory: Made when absent.
        settings: Of the feed.

    Raises:
        SimulatorError: The directory holds a complete log made with other settings, or its
            manifest or a shard is damaged or gone.
        RunError: There can be no such directory.
    """
    directory = Path(directory)
    if (directory / MANIFEST).exists():  # also where nothing can be written, not even a lock
        return _check_complete_log(directory, settings.resolved())

    feed = open_feed(settings)  # impossible settings leave no directory
    with in_turn(directory):
        if (directory / MANIFEST).exists():  # another process wrote it meanwhile
            return _check_complete_log(directory, feed.settings)
        return _write_log_and_truth(directory, feed)


def _write_log_and_truth(directory: Path, feed: Feed) -> Manifest:
    for folder in ("impressions", "truth"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
        for leftover in (directory / folder).glob("*day_*_part_*"):
            leftover.unlink()

    shards = []
    for day in range(feed.settings.days):
        for part in range(feed.settings.shards_per_day):
            shards.append(write_shard(feed, directory, day, part))

    manifest = _sum_up(feed.settings, shards)
    write_json(directory / MANIFEST, asdict(manifest, dict_factory=_without_absent))
    return manifest


def write_shard(feed: Feed, directory: Path, day: int, part: int) -> Shard:
    """Writes one shard and its truth.

    It needs no other shard, so many machines can write one log.

    Args:
        feed: From `open_feed`.
        directory: Its folders impressions and truth exist.
        day: From 0.
        part: In [0, shards_per_day).
    """
    rows, parts = feed.rows_of_day(day), feed.settings.shards_per_day
    start, stop = rows * part // parts, rows * (part + 1) // parts

    name = f"day_{day:02d}_part_{part:03d}"
    log_path = directory / "impressions" / f"{name}{SUFFIXES[feed.settings.format]}"
    truth_path = directory / "truth" / f"{name}.csv.gz"
    has_purchases, has_reactions = isinstance(feed, ShopFeed), isinstance(feed, ReactionFeed)
    columns, truth_columns = _columns_of(feed)
    counts = ("clicks", "completed", "watched", "purchases", "cents", *REACTIONS)
    totals = dict.fromkeys(counts, 0.0)

    def write_truth_and_yield_log() -> Generator[bytes, None, None]:
        with gzip_shard(truth_path, truth_columns) as truth_file:
            for impressions, truth, outcomes in feed.blocks(day, start, stop):
                truth_file.write(truth_to_csv(day, impressions, truth))
                for count, value in _counts(feed, impressions, outcomes).items():
                    totals[count] += value
                yield impressions_to_csv(feed.world, day, impressions, outcomes)

    with closing(write_truth_and_yield_log()) as blocks:  # the truth too ends where the log fails
        _write_log(log_path, blocks, columns, feed.settings.format)

    return Shard(
        impressions=str(log_path.relative_to(directory)),
        truth=str(truth_path.relative_to(directory)),
        rows=stop - start,
        clicks=int(totals["clicks"]),
        completed=int(totals["completed"]),
        watched=float(totals["watched"]),
        impressions_sha256=sha256(log_path),
        truth_sha256=sha256(truth_path),
        purchases=int(totals["purchases"]) if has_purchases else None,
        spent=float(totals["cents"]) / 100 if has_purchases else None,
        reactions={name: int(totals[name]) for name in REACTIONS} if has_reactions else None,
    )


def _columns_of(feed: Feed) -> tuple[Mapping[str, type], Sequence[str]]:
    """Returns the columns of a feed's log and of its truth."""
    if isinstance(feed, ShopFeed):
        return SHOP_COLUMNS, SHOP_TRUTH_COLUMNS
    if isinstance(feed, ReactionFeed):
        return REACTION_COLUMNS, REACTION_TRUTH_COLUMNS
    if isinstance(feed, MoodFeed):
        return MOOD_COLUMNS, MOOD_TRUTH_COLUMNS
    return COLUMNS, TRUTH_COLUMNS


def _write_log(
    path: Path, blocks: Iterable[bytes], columns: Mapping[str, type], file_format: str
) -> None:
    """Writes blocks of CSV lines as a file of the format."""
    if file_format == "tfrecord":
        write_tfrecord(path, blocks, columns)
        return

    with gzip_shard(path, columns) as file:
        for block in blocks:
            file.write(block)


def _counts(feed: Feed, impressions: Impressions, outcomes: Outcomes) -> dict[str, float]:
    """Returns the sums over the rows of a block that a shard adds up."""
    duration = 100 * feed.world.videos.duration[impressions.video]
    ratio = np.minimum(1, outcomes.play_time / duration)
    counts = {
        "clicks": outcomes.click.sum(),
        "completed": (ratio == 1).sum(),
        "watched": ratio.sum(),
    }
    if isinstance(outcomes, ShopOutcomes):
        counts |= {"purchases": outcomes.purchase.sum(), "cents": outcomes.amount.sum()}
    if isinstance(outcomes, ReactionOutcomes):
        counts |= dict(zip(REACTIONS, outcomes.reactions.sum(axis=0), strict=True))
    return counts


def _sum_up(settings: FeedSettings, shards: Sequence[Shard]) -> Manifest:
    clicks = sum(shard.clicks for shard in shards)
    purchases = sum(shard.purchases or 0 for shard in shards)
    spent = sum(shard.spent or 0 for shard in shards)
    reactions = {
        name: sum((shard.reactions or {}).get(name, 0) for shard in shards) for name in REACTIONS
    }
    rates = {name: count / max(clicks, 1) for name, count in reactions.items()}

    return Manifest(
        model_version=MODEL_VERSION,
        settings=settings,
        rows=settings.rows,
        clicks=clicks,
        click_rate=clicks / settings.rows,
        complete_rate=sum(shard.completed for shard in shards) / max(clicks, 1),
        watch_ratio=sum(shard.watched for shard in shards) / max(clicks, 1),
        shards=tuple(shards),
        purchase_rate=purchases / max(clicks, 1) if settings.purchases else None,
        mean_amount=spent / max(purchases, 1) if settings.purchases else None,
        reaction_rates=rates if settings.reactions else None,
    )


def _without_absent(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes one level of a manifest, which without what is off is as before there was any."""
    values = {name: value for name, value in items if value is not None}
    if values.get("purchases") is False:  # of the settings; in a shard it is a number
        del values["purchases"], values["purchase_rate"]
    for name in ("reactions", "moods"):
        if values.get(name) is False:
            del values[name]
    return values


def _check_complete_log(directory: Path, settings: FeedSettings) -> Manifest:
    """Returns the manifest of a log if it was made with these settings and its shards are whole."""
    path = directory / MANIFEST
    manifest = _read_manifest(path)

    stored = {"model_version": manifest.model_version, **asdict(manifest.settings)}
    expected = {"model_version": MODEL_VERSION, **asdict(settings)}
    differences = [
        f"{name} {stored[name]!r}, expected {expected[name]!r}"
        for name in stored
        if stored[name] != expected[name]
    ]
    if differences:
        raise SimulatorError(
            f"{path}: found a log with {'; '.join(differences)}; take another directory or "
            "remove it"
        )

    for shard in manifest.shards:
        checksums = {
            shard.impressions: shard.impressions_sha256,
            shard.truth: shard.truth_sha256,
        }
        for name, checksum in checksums.items():
            if "\0" in name or not (directory / name).is_file():
                raise SimulatorError(
                    f"{directory / name}: found no file, expected a shard of {path}"
                )
            if sha256(directory / name) != checksum:
                raise SimulatorError(
                    f"{directory / name}: found another content than {path} says (by its sha256); "
                    "remove the directory, and the same command writes it again"
                )
    return manifest


def _read_manifest(path: Path) -> Manifest:
    try:
        stored = read_typed(path, Manifest)
        # Purchases, reactions and moods: off unless stored.
        settings = FeedSettings(**stored.pop("settings"))
        shards = tuple(Shard(**shard) for shard in stored.pop("shards"))
        return Manifest(settings=settings, shards=shards, **stored)
    except (RunError, KeyError, TypeError, AttributeError, SimulatorError) as error:
        raise SimulatorError(
            f"{path}: found no manifest of this simulator ({error}); remove the directory"
        ) from error
