"""Prepares data sets by TensorFlow Datasets and opens them for training: NAME[/CONFIG].

A data set is a folder of `lt4rec_tf.data.public.builders` in TFDS's own form. Its prepared shards
are TFRecords of `tf.train.Example`, so the project's own pipeline reads them; TFDS itself, which is
slow to import, is loaded only where a data set is named.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.turns import in_turn
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.source import Source, open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule
from lt4rec_tf.data.public import builders
from lt4rec_tf.data.public.interactions import Pairs, Split, split_of_pairs
from lt4rec_tf.schema.types import Schema


def known_datasets() -> tuple[str, ...]:
    """Lists the names of the data sets that have a builder.

    >>> known_datasets()[:3]
    ('ali_ccp', 'ali_express', 'avazu_x1')
    """
    return tuple(module.name for module in pkgutil.iter_modules(builders.__path__))


def prepare(dataset: str, data_dir: str | Path, manual_dir: str | Path = "") -> None:
    """Has TFDS write a data set's shards, unless they are there already.

    Of several processes that find none, one writes; the others wait.

    Args:
        dataset: NAME or NAME/CONFIG; without CONFIG the builder's first one.
        data_dir: TFDS writes to NAME/CONFIG/VERSION below it.
        manual_dir: Holds files that must be downloaded by hand; "": downloads/manual in data_dir.

    Raises:
        DataError: There is no such data set, or files of it are missing, cannot be downloaded or
            cannot be read.
    """
    if _builder(dataset, data_dir).is_prepared():  # also where nothing can be written
        return
    with in_turn(Path(data_dir)):
        _prepare(dataset, data_dir, manual_dir)


def _prepare(dataset: str, data_dir: str | Path, manual_dir: str | Path) -> None:
    import requests
    import tensorflow_datasets as tfds

    builder = _builder(dataset, data_dir)
    manual = Path(manual_dir) if manual_dir else Path(data_dir) / "downloads" / "manual"
    config = tfds.download.DownloadConfig(manual_dir=str(manual.absolute()), try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise DataError(
            f"{dataset}: its files cannot be downloaded ({error}). Where there is no way to them, "
            f"have another machine prepare it, and copy {builder.data_dir} from there"
        ) from error


def published(dataset: str) -> tuple[Any, str | None]:
    """Returns the published statistics of a data set.

    Args:
        dataset: As `prepare` takes it.

    Returns:
        Its `archives.Statistics`, None where there are none; and the feature that names items.

    Raises:
        DataError: There is no such data set.
    """
    name, _, config = dataset.partition("/")
    module = _module(name, dataset)
    statistics_by_config = getattr(module, "STATISTICS", {})
    first_config = next(iter(statistics_by_config), "")
    return statistics_by_config.get(config or first_config), getattr(module, "ITEM", None)


def open_prepared(
    dataset: str, data_dir: str | Path, schema: Schema, rule: SplitRule | None = None
) -> Source:
    """Opens a prepared data set for reading, split as TFDS has it or by a rule.

    Args:
        dataset: NAME or NAME/CONFIG, as it was prepared.
        data_dir: Where it was prepared.
        schema: Features, labels and tasks; its format, files and side tables, which may be those
            of the same logs as text, give way to the data set's.
        rule: Splits the rows of its train, validation and test anew; None, or one by files: as
            they are. Other splits, such as random exposure, are never read.

    Raises:
        DataError: There is no such data set, it is not prepared, or it does not fit the schema.
    """
    builder = _builder(dataset, data_dir)
    if not builder.is_prepared():
        raise DataError(
            f"{builder.data_path}: found no prepared data set, expected the shards of {dataset}; "
            "train prepares them"
        )
    if missing := set(SPLITS) - set(builder.info.splits):
        raise DataError(
            f"--dataset: found no split {min(missing)} in {dataset}, which has "
            f"{', '.join(builder.info.splits)}: it is no log of impressions"
        )

    shards = {split: _shards(builder, split) for split in SPLITS}
    # Side tables are joined already: the columns of theirs lie in the shards.
    schema = replace(schema, format="tfrecord", files=sum(shards.values(), ()), joins=())
    if rule is None or rule.kind == "files":
        held_out = shards["validation"], shards["test"]
        rule = SplitRule(kind="files", validation_files=held_out[0], test_files=held_out[1])
    return open_source(schema, data_dir, rule)


def _shards(builder: Any, split: str) -> tuple[str, ...]:
    """Returns the shards of a split, relative to the folder of all data sets."""
    paths = builder.info.splits[split].filepaths
    return tuple(f"{builder.info.full_name}/{Path(path).name}" for path in paths)


def open_pairs(dataset: str, data_dir: str | Path) -> Split:
    """Opens a prepared data set of users and their items.

    Args:
        dataset: NAME or NAME/CONFIG, as it was prepared.
        data_dir: Where it was prepared.

    Raises:
        DataError: There is no such data set, or it is not one of users and items.
    """
    import tensorflow_datasets as tfds

    builder = _builder(dataset, data_dir)
    if set(builder.info.features) != {"user", "items"}:
        raise DataError(f"--dataset: found {dataset}, a log; expected implicit_feedback/CONFIG")

    def pairs(split: str) -> Pairs:
        rows = list(tfds.as_numpy(builder.as_dataset(split)))
        counts = [len(row["items"]) for row in rows]
        users = np.repeat(np.array([row["user"] for row in rows], np.int64), counts)
        return users, np.concatenate([row["items"] for row in rows])

    return split_of_pairs(dataset, pairs("train"), pairs("test"))


def _builder(dataset: str, data_dir: str | Path) -> Any:  # TFDS is imported late
    """Makes the builder of NAME[/CONFIG]."""
    name, _, config = dataset.partition("/")
    module = _module(name, dataset)
    configs = [builder_config.name for builder_config in module.Builder.BUILDER_CONFIGS]
    if config and config not in configs:
        expected = ", ".join(f"{name}/{config_name}" for config_name in configs)
        raise DataError(f"--dataset: found {dataset!r}, expected one of {expected}")
    return module.Builder(
        # TFDS would expand a "~" that the rest of the project takes as it stands.
        data_dir=str(Path(data_dir).absolute()),
        config=config or None,
        file_format="tfrecord",
    )


def _module(name: str, dataset: str) -> Any:
    """Imports a builder's module."""
    if name not in known_datasets():
        raise DataError(
            f"--dataset: found {dataset!r}, expected one of {', '.join(known_datasets())}"
        )
    return importlib.import_module(f"{builders.__name__}.{name}.{name}_dataset_builder")
