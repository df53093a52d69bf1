"""The sample of Tencent Video's logs that LT4REC's authors published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.public import archives
from lt4rec_tf.data.public.archives import Column, Statistics
from lt4rec_tf.data.public.builder import Examples, PublicBuilder

COLUMNS = (
    Column("seqnum", "text", "the request, with its time"),
    Column("pctr", "text", "what the ranker of the time predicted for the click"),
    Column("label", "whole", "label: the video was clicked, 0 or 1"),
    Column("cvrlabel", "number", "label: min(1, seconds watched / FEA_DURATION), 0 unclicked"),
    Column("FEA_UID", "text", "the user"),
    Column("FEA_UGROUP", "text", "the user's group"),
    Column("FEA_UCAT", "texts", "categories that the user likes"),
    Column("FEA_AGE", "text", "the user's age"),
    Column("FEA_VID", "text", "the video that was shown"),
    Column("FEA_CP", "text", "its content provider"),
    Column("FEA_ICAT1", "text", "its category"),
    Column("FEA_ICAT2", "text", "its finer category"),
    Column("FEA_IXFTAG", "texts", "its tags"),
    Column("FEA_IKEYWORD", "texts", "its keywords"),
    Column("FEA_DURATION", "text", "its length in seconds"),
    Column("FEA_COVERQUALITY", "text", "quality of its cover"),
    Column("FEA_SVID", "text", "the video that was watched when this one was shown"),
    Column("FEA_SCP", "text", "that one's content provider"),
    Column("FEA_SICAT1", "text", "that one's category"),
    Column("FEA_SICAT2", "text", "that one's finer category"),
    Column("FEA_STAG", "texts", "that one's tags"),
    Column("FEA_SIKEYWORD", "texts", "that one's keywords"),
    Column("FEA_ALGID", "text", "what recommended the video"),
    Column("FEA_ORDER", "text", "its place in the list"),
)
STATISTICS = {
    "": Statistics(rows=4_322, users=500, items=4_191, click_share=0.388, watch_ratio=0.818)
}
ITEM = "video"
TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.15  # of the rows, by time
# "<id>@<milliseconds>@<number>", "<id>_<seconds>.<number>_<number>", "<id>@<seconds>@<number>@..."
_TIMES = ((r"@(\d{13})@", 0.001), (r"_(\d{10})\.\d+_", 1.0), (r"@(\d{10})@", 1.0))


class Builder(PublicBuilder):
    """Reads impressions, split by time; columns as they are, "-1" where nothing is known."""

    columns = COLUMNS
    homepage = "https://arxiv.org/abs/2008.09872"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get lt4rec/dataset/part-r-00002.gz from https://github.com/xuanjixiao/onerec (it has no "
        "licence) and put it into manual_dir."
    )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        paths = sorted(self._manual_folder(dl_manager).glob("part-r-*.gz"))
        if not paths:
            raise DataError(
                f"{dl_manager.manual_dir}: found no part-r-*.gz.\n"
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )

        times = (time for path in paths for _, _, time in read(path))
        where = str(dl_manager.manual_dir)
        between = archives.times_of_splits(times, TRAIN_SHARE, VALIDATION_SHARE, where)
        return {split: self._generate_examples(paths, *ends) for split, ends in between.items()}

    def _generate_examples(self, paths: list[epath.Path], start: float, end: float) -> Examples:
        """Yields the impressions at times in [start, end)."""
        for path in paths:
            for number, row, time in read(path):
                if start <= time < end:
                    yield f"{path.name}: record {number}", row


def read(path: epath.Path) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Reads the records of a gzip TFRecord file.

    Yields:
        (record from 1, values by column, Unix time in seconds).

    Raises:
        DataError: The file is damaged, or a record lacks a column or its time.
    """
    try:
        records = tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
        for number, record in enumerate(records, start=1):
            where = f"{path.name}: record {number}"
            row = _row(tf.train.Example.FromString(record).features.feature, where)
            yield number, row, _time(row["seqnum"], where)
    except tf.errors.DataLossError as error:
        raise DataError(f"{path}: cannot be read ({error.message})") from error


def _row(features: Any, where: str) -> dict[str, Any]:
    """Reads the values of a record by column."""
    row = {}
    for column in COLUMNS:
        feature = features.get(column.name)
        if feature is None or feature.WhichOneof("kind") is None:
            raise DataError(f"{where}: found no {column.name}, expected it")
        values = [*getattr(feature, feature.WhichOneof("kind")).value]
        row[column.name] = values if column.kind == "texts" else values[0]
    return row


def _time(seqnum: bytes, where: str) -> float:
    """Reads the Unix time, in seconds, that a request's id holds."""
    text = seqnum.decode("utf-8", errors="replace")
    for pattern, seconds in _TIMES:
        if match := re.search(pattern, text):
            return int(match[1]) * seconds
    raise DataError(f"{where}: seqnum: found no time in {text!r}, expected one")
