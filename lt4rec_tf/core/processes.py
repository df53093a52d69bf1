"""Runs jobs in parallel processes; a failed job is recorded and the others continue."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from lt4rec_tf.core.command import discard
from lt4rec_tf.core.errors import UnwritableError, as_unwritable, naming_the_unwritable
from lt4rec_tf.core.progress import duration

_PARENT = "LT4REC_TF_PARENT"  # variable by which a process knows its parent from the first
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def threads_per_process(processes: int) -> int:
    """Returns the number of threads for each of several processes that share the cores."""
    return max(1, (os.cpu_count() or 1) // processes)


@dataclass(frozen=True)
class Job:
    """A function of this package and its arguments.

    Attributes:
        name: In progress lines; also names its log.
        work: A function of a module, which a process imports by its name.
        arguments: Plain values.
        passes: Trainings over the logs that it takes, for the time left.
    """

    name: str
    work: Callable[..., None]
    arguments: tuple[Any, ...]
    passes: int = 1


@dataclass(frozen=True)
class Failure:
    """The error of a failed job, and its log."""

    error: str
    log: Path


class JobPool:
    """Processes that live as long as the pool: each imports TensorFlow and opens the logs once.

    Args:
        processes: How many jobs run in parallel.
        prepare: Called once in each process before its first job; a function that a process can
            import by its name.
        logs: Folder that gets a log for each job.
        say: Called with a line at every job's end.
    """

    def __init__(
        self,
        processes: int,
        prepare: Callable[[], None],
        logs: Path,
        say: Callable[[str], None],
    ) -> None:
        self._processes, self._prepare, self._logs, self._say = processes, prepare, logs, say
        self._pool = self._open(processes)

    def _open(self, processes: int) -> ProcessPoolExecutor:
        os.environ[_PARENT] = str(os.getpid())
        # Spawned, not forked: TensorFlow's threads do not survive a fork.
        return ProcessPoolExecutor(
            processes,
            get_context("spawn"),
            initializer=begin,
            initargs=(self._prepare,),
        )

    def run(self, what: str, jobs: Sequence[Job]) -> dict[str, Failure]:
        """Runs jobs and returns those that failed, by name.

        Args:
            what: Name of these jobs in progress lines.
            jobs: Independent of each other.

        Raises:
            UnwritableError: A disk is full, or a permission is missing: no other job would fare
                better. Close the pool; jobs that run are finished.
        """
        failures: dict[str, Failure] = {}
        counter = _Counter(what, jobs, self._say)
        unfinished = {job.name: job for job in jobs}
        try:
            for job, failure in self._finished(self._pool, jobs):
                counter.report(job, failure)
                del unfinished[job.name]
                if failure:
                    failures[job.name] = failure
        except BrokenProcessPool:
            # A job ended its process, and with it the pool. Alone, each job shows if it was it.
            for job in unfinished.values():
                failure = self._alone(job)
                counter.report(job, failure)
                if failure:
                    failures[job.name] = failure
            self._pool = self._open(self._processes)
        return failures

    def close(self) -> None:
        """Ends the processes; jobs that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _finished(
        self, pool: ProcessPoolExecutor, jobs: Sequence[Job]
    ) -> Iterator[tuple[Job, Failure | None]]:
        futures: dict[Future[str], Job] = {
            pool.submit(_run_logged, job.work, job.arguments, self._log(job)): job for job in jobs
        }
        # Not `as_completed`: jobs that end before it is called come out of it in any order.
        ended: SimpleQueue[Future[str]] = SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        for _ in jobs:
            future = ended.get()
            job = futures[future]
            error = future.result()
            yield job, Failure(error, self._log(job)) if error else None

    def _alone(self, job: Job) -> Failure | None:
        with self._open(1) as pool:
            try:
                return next(self._finished(pool, [job]))[1]
            except BrokenProcessPool:
                return Failure("its process ended: killed, or out of memory", self._log(job))

    def _log(self, job: Job) -> Path:
        return self._logs / f"{job.name.replace('/', '.')}.log"


class _Counter:
    """Reports the number of jobs that are done and the time left."""

    def __init__(self, what: str, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        self._what, self._say, self._number = what, say, len(jobs)
        self._total = sum(job.passes for job in jobs)
        self._done, self._passes, self._started = 0, 0, time.monotonic()

    def report(self, job: Job, failure: Failure | None) -> None:
        self._done, self._passes = self._done + 1, self._passes + job.passes
        seconds = time.monotonic() - self._started
        seconds_left = seconds / max(1, self._passes) * (self._total - self._passes)

        end = f"FAILED: {failure.error} (log: {failure.log})" if failure else "done"
        after = f" | about {duration(seconds_left)} left" if self._done < self._number else ""
        self._say(f"{self._what} {self._done}/{self._number} | {job.name} {end}{after}")


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Hides the program's main module from processes that are spawned within a block.

    They would run it once more. A user's script that calls this package without an
    `if __name__ == "__main__"` would begin anew in each of them.
    """
    main_module = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module


def begin(prepare: Callable[[], None]) -> None:
    """Begins a process of a pool: it watches its parent first, as preparing may take seconds."""
    end_with_parent()
    prepare()


def _run_logged(work: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> str:
    """Runs a job with its output in a log and returns "" or the error in a line.

    Raises:
        UnwritableError: The machine refuses what the job writes, or its log.
    """
    with naming_the_unwritable(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file, _output_to(file.fileno()):
            return _run(work, arguments)


def _run(work: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    try:
        work(*arguments)
    except Exception as error:
        if isinstance(error, UnwritableError):
            raise
        if isinstance(error, OSError) and error.filename is None:
            raise  # of the log: all else that a job writes is named
        unwritable = as_unwritable(error)
        if unwritable is not None:
            raise unwritable from error
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        keras = sys.modules.get("tf_keras")
        if keras is not None:  # a job without networks is not made to wait for its import
            keras.backend.clear_session()
    return ""


@contextlib.contextmanager
def _output_to(target: int) -> Iterator[None]:
    """Redirects standard output and error, TensorFlow's own lines included, to a file.

    Raises:
        OSError: The file cannot take the last lines; they are dropped.
    """
    originals = {stream: os.dup(stream.fileno()) for stream in (sys.stdout, sys.stderr)}
    refused: OSError | None = None
    try:
        for stream in originals:
            stream.flush()
            os.dup2(target, stream.fileno())
        yield
    finally:
        for stream, original in originals.items():
            try:
                stream.flush()
            except OSError as error:
                refused = error
                discard(stream)  # or it would go to the stream's next file
            os.dup2(original, stream.fileno())
            os.close(original)
    if refused is not None:
        raise refused


def end_with_parent() -> None:
    """Ends this process, one of a pool, as soon as its parent ends in any way.

    To be called before TensorFlow is imported: its import keeps Python's threads from running for
    most of a second, longer on a busy machine. So Linux is asked to end the process. It does when
    the thread that started the process ends, which lives as long as its pool.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    # While multiprocessing imports the main module again, it does not know the parent yet.
    parent = multiprocessing.parent_process()
    expected = os.environ.get(_PARENT) if parent is None else str(parent.pid)
    if expected not in (None, str(os.getppid())):  # it had ended before Linux was asked
        os._exit(1)
    if parent is not None:  # for other systems
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
