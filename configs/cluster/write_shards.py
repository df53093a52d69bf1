"""Writes logs anew as shuffled shards of even size, by Apache Beam, on one machine or many.

    pip install apache-beam
    python configs/cluster/write_shards.py --logs='data/simulated_feed/impressions/*.csv.gz' \
        --shards=data/shards/impressions --day_column=day --shards_per_day=8

Each day's rows get into files of their own, so that a split by time reads only files that it needs,
and every worker has files of its own. Rows are strewn over a day's shards by a hash of the row.
Options of Beam itself follow, such as --runner=FlinkRunner or --runner=DataflowRunner; without any
it runs here.
"""

from __future__ import annotations

import argparse
import csv
import zlib

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.options.pipeline_options import PipelineOptions


def main() -> None:
    """Reads the logs, gives every row a shard, writes the shards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", required=True, help="glob of CSV files with one header")
    parser.add_argument("--shards", required=True, help="folder that gets the shards")
    parser.add_argument("--day_column", required=True, help="column that says a row's day")
    parser.add_argument("--shards_per_day", type=int, required=True)
    flags, beam_flags = parser.parse_known_args()
    header, day = read_header(flags.logs, flags.day_column)

    def shard_of(line: str) -> tuple[str, str]:
        value = next(csv.reader([line]))[day]
        # The same in every attempt: Beam may run a step twice.
        return f"day_{value}-{zlib.crc32(line.encode()) % flags.shards_per_day:05d}", line

    with beam.Pipeline(options=PipelineOptions(beam_flags, save_main_session=True)) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromText(flags.logs, skip_header_lines=1)
            | beam.Map(shard_of)
            | fileio.WriteToFiles(
                path=flags.shards,
                destination=lambda row: row[0],
                sink=lambda _: Lines(header),
                file_naming=lambda *told: f"{told[5]}.csv.gz",  # told[5]: the destination
                shards=1,
            )
        )


class Lines(fileio.TextSink):
    """A gzip text file that begins with a header."""

    def __init__(self, header: str) -> None:
        self.header = header

    def create_metadata(self, destination: str, full_file_name: str) -> fileio.FileMetadata:
        """Says that the file is packed, which its temporary name does not."""
        return fileio.FileMetadata("application/gzip", CompressionTypes.GZIP)

    def open(self, file) -> None:
        """Writes the header."""
        super().open(file)
        super().write(self.header)

    def write(self, row: tuple[str, str]) -> None:
        """Writes a row's line."""
        super().write(row[1])

    def flush(self) -> None:
        """Does nothing: whoever closes the file ends its packing, which happens once."""


def read_header(logs: str, day_column: str) -> tuple[str, int]:
    """The header of the first file, and where in it the day stands."""
    first = beam.io.filesystems.FileSystems.match([logs])[0].metadata_list[0].path
    with beam.io.filesystems.FileSystems.open(first) as file:
        header = file.readline().decode().rstrip("\r\n")
    columns = next(csv.reader([header]))
    if day_column not in columns:
        raise SystemExit(f"{first}: found columns {', '.join(columns)}, expected {day_column!r}")
    return header, columns.index(day_column)


if __name__ == "__main__":
    main()
