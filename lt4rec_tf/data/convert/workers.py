"""Converts many files: in parallel processes of this machine, or by Apache Beam's workers."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.processes import begin, set_threads
from lt4rec_tf.data.convert.manifest import done_before
from lt4rec_tf.data.convert.shards import UNFINISHED, Converted, Job, convert_file
from lt4rec_tf.data.formats.beam import import_beam
from lt4rec_tf.data.formats.files import DataError

Todo = Sequence[tuple[int, Path]]  # a file's index among all, and the file


def by_processes(job: Job, todo: Todo, processes: int) -> Iterator[Converted]:
    """Converts files, some at a time.

    Args:
        job: Settings of the conversion.
        todo: The files.
        processes: How many at a time, 1 or more; 1: in this process.

    Yields:
        Each file as it is done.

    Raises:
        DataError: A file cannot be converted, or a process was killed; files that others had begun
            are finished first.
    """
    processes = min(processes, len(todo))
    if processes <= 1:
        for index, path in todo:
            yield convert_file(job, index, path)
        return

    spawn = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    # Processes share the cores: in each one thread reads and one parses. What they begin with
    # imports no TensorFlow, so that they watch their parent before.
    prepare = functools.partial(set_threads, 1, 2)
    with ProcessPoolExecutor(processes, spawn, begin, (prepare,)) as pool:
        futures = [pool.submit(convert_file, job, index, path) for index, path in todo]
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


def by_beam(job: Job, todo: Todo, options: Sequence[str]) -> Iterator[Converted]:
    """Converts files as elements of a Beam pipeline; workers must share the folders' file system.

    Args:
        job: Settings of the conversion.
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
        _ = files | beam.Map(functools.partial(_convert_or_write_error, job))

    for index, path in todo:
        error_path = _error_path(job, index)
        if error_path.exists():
            raise DataError(error_path.read_text(encoding="utf-8"))
        result = done_before(job.output_dir, index)
        if result is None:
            raise DataError(f"{path}: found no shards of it, expected some from the Beam pipeline")
        yield result


def _error_path(job: Job, index: int) -> Path:
    return job.output_dir / UNFINISHED / f"{index:05d}.error"


def _convert_or_write_error(job: Job, file: tuple[int, Path]) -> None:
    """Converts a file; an error is written down, as Beam would retry, and show a stack trace."""
    index, path = file
    _error_path(job, index).unlink(missing_ok=True)
    try:
        convert_file(job, index, path)
    except DataError as error:
        write_atomically(_error_path(job, index), str(error))
