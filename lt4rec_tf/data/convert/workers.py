"""Converts many files: in parallel processes of this machine, or by Apache Beam's workers."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.command import set_threads
from lt4rec_tf.core.processes import begin
from lt4rec_tf.data.convert.manifest import done_before
from lt4rec_tf.data.convert.shards import UNFINISHED, Converted, Job, convert_file
from lt4rec_tf.data.formats.beam import import_beam
from lt4rec_tf.data.formats.files import DataError

T = TypeVar("T")
Todo = Sequence[tuple[int, Path]]  # a file's index among all, and the file


def by_processes(job: Job, todo: Todo, processes: int) -> Iterator[Converted]:
    """Converts files, some at a time; yields each as it is done, see `in_processes`."""
    yield from in_processes(functools.partial(convert_file, job), todo, processes)


def in_processes(
    work: Callable[..., T], todo: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[T]:
    """Calls a function with several arguments each, some calls at a time.

    Args:
        work: A function of a module, or a partial one.
        todo: The arguments of each call.
        processes: How many at a time, 1 or more; 1: in this process.

    Yields:
        Each result as it is there.

    Raises:
        DataError: A call raised it, or a process was killed; what others had begun is finished
            first.
    """
    processes = min(processes, len(todo))
    if processes <= 1:
        for arguments in todo:
            yield work(*arguments)
        return

    spawn = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    # Processes share the cores: in each one thread reads and one parses. What they begin with
    # imports no TensorFlow, so that they watch their parent before.
    prepare = functools.partial(set_threads, 1, 2)
    with ProcessPoolExecutor(processes, spawn, begin, (prepare,)) as pool:
        futures = [pool.submit(work, *arguments) for arguments in todo]
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
    beam, pipeline_options = beam_with(options)
    with beam.Pipeline(options=pipeline_options) as pipeline:
        files = pipeline | beam.Create(list(todo)) | beam.Reshuffle()
        _ = files | beam.Map(functools.partial(_convert_or_write_error, job))

    raise_written(job, [index for index, _ in todo])
    for index, path in todo:
        result = done_before(job.output_dir, index)
        if result is None:
            raise DataError(f"{path}: found no shards of it, expected some from the Beam pipeline")
        yield result


def beam_with(options: Sequence[str]) -> tuple[Any, Any]:
    """Returns Beam's module, and options of a pipeline.

    Raises:
        DataError: Beam is not installed.
    """
    beam = import_beam(
        "--beam_pipeline_options needs Apache Beam ({error}): pip install 'lt4rec_tf[beam]'"
    )
    texts = [f"--{option}" for option in options]
    return beam, beam.options.pipeline_options.PipelineOptions(texts)


def raise_written(job: Job, indices: Sequence[int]) -> None:
    """Raises the error that a worker wrote down of one of some files.

    Raises:
        DataError: There is one.
    """
    for index in indices:
        if _error_path(job, index).exists():
            raise DataError(_error_path(job, index).read_text(encoding="utf-8"))


@contextlib.contextmanager
def errors_written(job: Job, index: int) -> Iterator[None]:
    """Writes an error of a file down, as Beam would retry, and show a stack trace."""
    _error_path(job, index).unlink(missing_ok=True)
    try:
        yield
    except DataError as error:
        write_atomically(_error_path(job, index), str(error))


def _error_path(job: Job, index: int) -> Path:
    return job.output_dir / UNFINISHED / f"{index:05d}.error"


def _convert_or_write_error(job: Job, file: tuple[int, Path]) -> None:
    index, path = file
    with errors_written(job, index):
        convert_file(job, index, path)
