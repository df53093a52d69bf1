"""Simulated feeds as tests read and make them: their files as texts, one impression many times."""

import csv
import gzip
from dataclasses import replace

import numpy as np

from lt4rec_tf.data.simulator.exposure import NO_VIDEO, Impressions
from lt4rec_tf.data.simulator.kinds import open_feed
from lt4rec_tf.data.simulator.writer import simulate, write_shard


def lines(directory, folder):
    """The lines of each file, without their ends."""
    paths = sorted((directory / folder).iterdir())
    return [gzip.decompress(path.read_bytes()).decode().splitlines() for path in paths]


def columns(directory, folder):
    """Every column of the log as an array of text."""
    rows = [row for text in lines(directory, folder) for row in csv.DictReader(text)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def records(directory, manifest):
    """The features of each row of a log of TFRecords."""
    import tensorflow as tf

    read = []
    for shard in manifest.shards:
        path = str(directory / shard.impressions)
        for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator():
            read.append(tf.train.Example.FromString(record).features.feature)
    return read


def impressions(rows, **values):
    """The same impression again and again, but for the columns given."""
    same = {"number": np.arange(rows), "user": 3, "video": 7, "source": NO_VIDEO}
    same |= {"position": 1, "hour": 20, "network": 0}
    return Impressions(**{k: np.broadcast_to(v, rows) for k, v in (same | values).items()})


def assert_same_whatever_the_shards(small, settings, folder):
    """A feed of the settings, (directory, manifest), in more shards and its last shard alone."""
    directory, manifest = small
    simulate(folder / "more", replace(settings, shards_per_day=5))
    for name in ("impressions", "truth"):
        more, fewer = columns(folder / "more", name), columns(directory, name)
        assert all((more[column] == fewer[column]).all() for column in fewer)
        (folder / "alone" / name).mkdir(parents=True)
    alone = write_shard(open_feed(settings), folder / "alone", day=2, part=1)
    assert alone == manifest.shards[-1]


def written_to(directory, settings):
    return directory, simulate(directory, settings)
