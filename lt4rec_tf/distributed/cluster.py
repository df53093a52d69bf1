"""Clusters: the role of this process by TF_CONFIG, and recovery when another process is lost.

TF_CONFIG is TensorFlow's own: {"cluster": {job: [host:port, ...]}, "task": {"type": job, "index":
i}}. Every process is started with the same command and has the same folders for logs and run.

* multi_worker: jobs "worker", and optionally "chief". All take the same steps; the first one
  writes. If one is lost, the step of all ends: they restart from the last checkpoint, as does the
  lost one once it is started again.
* parameter_server: jobs "chief" (the coordinator, which runs the procedure), "worker" and "ps".
  Workers may be lost and return. A chief or a server that is lost has to be started again; the
  chief then resumes from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.distributed.replicas import MULTI_WORKER, are_tables, meet, this_process

FINISHED = "finished"
POLLING_SECONDS = 1.0
LEAST_THREADS = 4  # of a worker or server
_JOBS = {"multi_worker": ("chief", "worker"), "parameter_server": ("chief", "worker", "ps")}
# Errors that TensorFlow raises in a process when another one is lost.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
# What TensorFlow writes where such an error passed through an operation of the graph, such as a
# dataset's: it then raises an InternalError in its place.
LOST_INSIDE = "originally returned UnavailableError"
# What it writes of a process that was started again so soon that nobody noticed.
OF_ANOTHER_PROCESS, REMOTE = ("unknown device", "tensor remote_handle"), "remote target"
# The service by which workers of `multi_worker` know of each other: when the worker that runs it is
# started again, it answers the others with errors of several kinds.
COORDINATION = "CoordinationService"
_AGAIN = "must be registered"
_WORDS_OF_LOSS = ("connect", "socket closed", "context_id", _AGAIN, *OF_ANOTHER_PROCESS)
RESTARTS, MOST_RESTARTS = "LT4REC_TF_RESTARTS", 100


class ClusterError(InputError):
    """TF_CONFIG does not describe the cluster that the flags name, or a server is lost."""


def check(kind: str) -> None:
    """Refuses a TF_CONFIG that does not fit the distribution.

    Raises:
        ClusterError: The message says what was found and what was expected.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
        counts = {job: len(addresses) for job, addresses in config["cluster"].items()}
        job, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if kind not in _JOBS:
            return
        raise ClusterError(
            f"TF_CONFIG: found {text!r}, expected "
            '{"cluster": {job: ["host:port", ...]}, "task": {"type": job, "index": number}} '
            f"with --distribution={kind}"
        ) from error

    if kind in _JOBS:
        _check_jobs(kind, counts, job, index)
    elif sum(counts.values()) > 1:
        raise ClusterError(
            f"TF_CONFIG: found {sum(counts.values())} tasks, expected one with "
            f"--distribution={kind}: each would train alone"
        )


def _check_jobs(kind: str, counts: Mapping[str, int], job: str, index: int) -> None:
    """Refuses jobs, or a task of this process, that a distribution does not have."""
    jobs = _JOBS[kind]
    needed = ("worker",) if kind == "multi_worker" else jobs
    if not set(counts) <= set(jobs) or not all(counts.get(name) for name in needed):
        raise ClusterError(
            f"TF_CONFIG: found jobs {', '.join(counts)}, expected {', '.join(jobs)} with "
            f"--distribution={kind}"
        )
    if job not in counts or not 0 <= index < counts[job]:
        raise ClusterError(
            f"TF_CONFIG: found task {job} {index}, expected one of "
            + ", ".join(f"{name} 0 to {count - 1}" for name, count in counts.items())
        )


def is_server(kind: str) -> bool:
    """Tells if this process serves a coordinator: a worker or a server of parameter_server."""
    if kind != "parameter_server":
        return False
    return json.loads(os.environ["TF_CONFIG"])["task"]["type"] != "chief"


def serve(folder: Path) -> None:
    """Works for the coordinator until the run is finished.

    Args:
        folder: RUN, where the coordinator writes that it is finished.
    """
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    before = finished(folder)

    # One thread reads a part's batches while others train on them: with a single thread, as on one
    # core, a worker would wait for itself.
    threads = max(LEAST_THREADS, len(os.sched_getaffinity(0)))
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        resolver.task_type,
        resolver.task_id,
        protocol="grpc",
        config=tf.compat.v1.ConfigProto(inter_op_parallelism_threads=threads),
    )
    print(f"{resolver.task_type} {resolver.task_id} at {server.target}, for {folder}", flush=True)
    while finished(folder) in (None, before):
        time.sleep(POLLING_SECONDS)


def finished(folder: Path) -> str | None:
    """Returns a text that differs between two ends of a run; None before the first."""
    file = folder / FINISHED
    return file.read_text(encoding="utf-8") if file.exists() else None


def wait_for_writer(folder: Path, before: str | None) -> None:
    """Waits until the writing process has ended, with or without an error.

    A process that leaves earlier would count as lost.

    Args:
        folder: RUN, which the writer has locked.
        before: The result of `finished` when this process began.
    """
    while finished(folder) in (None, before):
        with contextlib.suppress(artifacts.RunError), artifacts.locked(folder):
            return
        time.sleep(POLLING_SECONDS)


def say_finished(folder: Path) -> None:
    """Ends the wait of workers and servers."""
    artifacts.write_atomically(folder / FINISHED, uuid.uuid4().hex)


@contextlib.contextmanager
def joined(kind: str, shard_mib: float) -> Iterator[None]:
    """Joins the cluster: within it networks and steps are distributed, and one process writes.

    A process of multi_worker that loses another one restarts itself.

    Args:
        kind: --distribution.
        shard_mib: Size in MiB above which a table is split over several parameter servers.

    Raises:
        ClusterError: A server of parameter_server is lost.
    """
    try:
        strategy = _strategy(kind, shard_mib)
        scope = contextlib.nullcontext() if strategy is None else strategy.scope()
        with scope, _one_writer():
            yield
    except Exception as error:
        reason = reason_of_loss(error)
        if reason is None:
            raise
        if kind == "multi_worker":
            _start_over(reason)
        if kind != "parameter_server":
            raise
        raise ClusterError(
            f"a parameter server or all workers are lost ({reason}); once every process of the "
            "cluster is started again, the same command goes on from the last checkpoint"
        ) from error


def reason_of_loss(error: Exception) -> str | None:
    """Returns the line of an error that says how another process was lost; None: none was.

    Of a part that failed because another one did, TensorFlow's coordinator raises an error that
    only holds that one's.

    >>> reason_of_loss(tf.errors.UnavailableError(None, None, "Connection reset by peer"))
    'Connection reset by peer'
    >>> reason_of_loss(tf.errors.InternalError(None, None, "out of registers")) is None
    True
    """
    error = getattr(error, "original_exception", error)
    message = str(error)
    if not _says_loss(error, message):
        return None
    lines = [line for line in message.splitlines() if line and line != "Graph execution error:"]
    says_loss = [line for line in lines if any(word in line.lower() for word in _WORDS_OF_LOSS)]
    return (says_loss or lines or [type(error).__name__])[0]


def _says_loss(error: Exception, message: str) -> bool:
    """Tells if an error says that another process is lost, or was and is a new one."""
    if isinstance(error, tf.errors.OpError) and COORDINATION in message:
        return True
    if isinstance(error, tf.errors.InternalError):
        return LOST_INSIDE in message
    if isinstance(error, tf.errors.InvalidArgumentError):
        is_other = any(text in message.lower() for text in OF_ANOTHER_PROCESS)
        return is_other and REMOTE in message
    if isinstance(error, tf.errors.CancelledError):  # what ran as another process went
        return REMOTE in message
    return isinstance(error, LOST)


def _strategy(kind: str, shard_mib: float) -> tf.distribute.Strategy | None:
    if kind == "none":
        return None
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy(_devices())
    if kind == "multi_worker":
        return MULTI_WORKER()
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    servers = resolver.cluster_spec().num_tasks("ps")
    partitioner = table_partitioner(servers, shard_mib)
    return tf.distribute.ParameterServerStrategy(resolver, partitioner)


def _devices() -> list[str]:
    """Returns all GPUs, or without one the processor's logical devices, mostly a single one."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def table_partitioner(servers: int, shard_mib: float) -> Callable[..., Sequence[int]]:
    """Makes the function that splits embedding tables into parts by size, other variables never.

    What is a table is said where it is made: the rows of some are known once the cluster is joined
    and the logs were read.

    >>> from lt4rec_tf.distributed.replicas import making_tables
    >>> cut = table_partitioner(servers=4, shard_mib=64)
    >>> with making_tables():
    ...     cut(shape=tf.TensorShape((1_000_000, 32)), dtype=tf.float32)  # 122 MiB
    [2, 1]
    >>> cut(shape=tf.TensorShape((1_000_000, 32)), dtype=tf.float32)
    [1, 1]
    """

    def parts(shape: tf.TensorShape, dtype: tf.DType, **_: Any) -> Sequence[int]:
        ones = [1] * len(shape)
        if not are_tables():
            return ones
        mib = shape.num_elements() * dtype.size / 2**20
        return [max(1, min(servers, ceil(mib / shard_mib))), *ones[1:]]

    return parts


@contextlib.contextmanager
def _one_writer() -> Iterator[None]:
    process = this_process()
    if process.count == 1:
        yield
        return
    with artifacts.written_by_one(process.index == 0, meet):
        yield
        meet()  # a process that leaves early counts as lost


def _start_over(reason: str) -> None:
    """Replaces this process by a new one with the same command line."""
    restarts = int(os.environ.get(RESTARTS, "0")) + 1
    if restarts > MOST_RESTARTS:
        raise ClusterError(f"lost other workers {restarts} times, at last: {reason}")
    print(f"another worker is lost ({reason}); starting over", file=sys.stderr, flush=True)
    os.environ[RESTARTS] = str(restarts)
    time.sleep(1.0)
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the command that runs already
