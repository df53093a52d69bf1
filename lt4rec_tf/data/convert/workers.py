"""Who converts the files: processes side by side on this machine, or Apache Beam's workers."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.processes import end_with_parent
from lt4rec_tf.data.convert.manifest import done_before
from lt4rec_tf.data.convert.shards import UNFINISHED, Converted, Job, convert_file
from lt4rec_tf.data.formats.beam import import_beam
from lt4rec_tf.data.formats.files import DataError

Todo = Sequence[tuple[int, Path]]  # a file's place among all, and the file


def by_processes(job: Job, todo: Todo, processes: int) -> Iterator[Converted]:
    """Converts files, some at a time.

    Args:
        job: What to do.
        todo: The files.
        processes: How many at a time; 1: in this process.

    Yields:
        Each file as it is done.

    Raises:
        DataError: A file cannot be converted, or a process was killed; files that others had begun
            are finished first.
    """
    if min(processes, len(todo)) <= 1:
        for place, path in todo:
            yield convert_file(job, place, path)
        return
    spawn = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    with ProcessPoolExecutor(min(processes, len(todo)), spawn, _prepare) as pool:
        futures = [pool.submit(convert_file, job, place, path) for place, path in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a process was killed, for want of memory perhaps; the same command goes on with "
                "the files that are not done"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Makes a process one of several that share the cores, and that ends with its parent."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)  # one reads, one parses
    end_with_parent()


def by_beam(job: Job, todo: Todo, options: Sequence[str]) -> Iterator[Converted]:
    """Converts files as elements of a Beam pipeline; workers must share the folders' file system.

    Args:
        job: What to do.
        todo: The files.
        options: Of the pipeline, such as "runner=DirectRunner".

    Yields:
        Each file, when all are done.

    Raises:
        DataError: Beam is not installed, or a file cannot be converted.
    """
    beam = import_beam(
        "--beam_pipeline_options needs Apache Beam ({error}): pip install 'lt4rec_tf[beam]'"
    )
    pipeline_options = beam.options.pipeline_options.PipelineOptions(
        [f"--{option}" for option in options]
    )

    with beam.Pipeline(options=pipeline_options) as pipeline:
        files = pipeline | beam.Create(list(todo)) | beam.Reshuffle()
        _ = files | beam.Map(functools.partial(_convert_or_note, job))
    for place, path in todo:
        note = _note(job, place)
        if note.exists():
            raise DataError(note.read_text(encoding="utf-8"))
        found = done_before(job.output_dir, place)
        if found is None:
            raise DataError(f"{path}: found no shards of it, expected some from the Beam pipeline")
        yield found


def _note(job: Job, place: int) -> Path:
    return job.output_dir / UNFINISHED / f"{place:05d}.error"


def _convert_or_note(job: Job, file: tuple[int, Path]) -> None:
    """Errors go by files: Beam would try again, and then show its own stack trace."""
    place, path = file
    _note(job, place).unlink(missing_ok=True)
    try:
        convert_file(job, place, path)
    except DataError as error:
        write_atomically(_note(job, place), str(error))
