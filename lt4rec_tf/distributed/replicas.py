"""Training on several devices or machines, by TensorFlow's own strategies.

Training code calls `tf.distribute.get_strategy()`. On a single process the functions below are
no-ops, so networks, steps and checkpoints are written once and results do not change.

* mirrored, multi_worker: each replica computes on its rows of a batch. Sums over the batch are sums
  over all replicas (`over_replicas`): losses, gradients, updates are those of the whole batch.
* parameter_server: variables lie on servers, large tables in parts (`parts_of`). Workers take steps
  asynchronously.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.distributed.shards import WHOLE, Shard, own_rows

MULTI_WORKER = tf.distribute.MultiWorkerMirroredStrategy


def parts_of(variable: Any) -> list[tf.Variable]:
    """Returns the variables that a variable consists of: itself, or a table's parts on servers."""
    return list(getattr(variable, "variables", [variable]))


_MAKING_TABLES = ContextVar("making_tables", default=False)


@contextlib.contextmanager
def making_tables() -> Iterator[None]:
    """Within it every variable that is made is an embedding table, which servers may share."""
    token = _MAKING_TABLES.set(True)
    try:
        yield
    finally:
        _MAKING_TABLES.reset(token)


def are_tables() -> bool:
    """Tells if the variables that are made now are embedding tables."""
    return _MAKING_TABLES.get()


def by_parameter_server() -> bool:
    """Tells if variables lie on parameter servers and workers train asynchronously."""
    strategy = tf.distribute.get_strategy()
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def workers_of_servers() -> int:
    """Returns the number of workers of a parameter server cluster."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return resolver.cluster_spec().num_tasks("worker")


def this_process() -> Shard:
    """Returns this process's share among those that take every step together."""
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, MULTI_WORKER):
        return WHOLE
    resolver = strategy.cluster_resolver
    tasks = resolver.cluster_spec().as_dict()
    chiefs, workers = len(tasks.get("chief", ())), len(tasks.get("worker", ()))
    first = chiefs if resolver.task_type == "worker" else 0
    return Shard(first + (resolver.task_id or 0), max(1, chiefs + workers))


def over_replicas(values: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Returns sums over a batch's rows, from sums over the rows of each replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack(values))
    return tf.unstack(summed)


def gradients_over_replicas(gradients: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Returns gradients of sums over a batch, from each replica's gradients of the same sums.

    Each replica differentiates the whole batch's loss, which all have from `over_replicas`. Every
    one of n adds to the gradient that flows back into a row's loss, so that they sum to n times the
    gradient. Dense gradients are sent as one tensor, since a message costs more than its bytes.

    Args:
        gradients: For each target, one a variable: a tensor, IndexedSlices or None.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients

    mean = tf.distribute.ReduceOp.MEAN
    flat = list(itertools.chain(*gradients))
    sparse = [i for i, g in enumerate(flat) if isinstance(g, tf.IndexedSlices)]
    dense = [i for i, g in enumerate(flat) if g is not None and i not in sparse]
    reduced: list[Any] = [None] * len(flat)

    if dense:
        packed = tf.concat([tf.reshape(flat[i], [-1]) for i in dense], axis=0)
        sizes = [flat[i].shape.num_elements() for i in dense]
        pieces = tf.split(context.all_reduce(mean, packed), sizes)
        for i, piece in zip(dense, pieces, strict=True):
            reduced[i] = tf.reshape(piece, flat[i].shape)
    if sparse:
        means = context.all_reduce(mean, [flat[i] for i in sparse])
        for i, slices in zip(sparse, means, strict=True):
            reduced[i] = slices

    # The shape of the argument: a list a target.
    in_order = iter(reduced)
    return [list(itertools.islice(in_order, len(of_target))) for of_target in gradients]


def spread(step: Callable[[Any], Any], spec: Any) -> Callable[[Any], Any]:
    """Compiles a step that each of this process's replicas takes on its rows of a batch.

    Args:
        step: From a batch to a nested structure of tensors that are the same on all replicas.
        spec: Of the batch.
    """
    if by_parameter_server():  # part of a larger function, which cannot hold a compiled one
        return step
    if not tf.distribute.has_strategy():
        return tf.function(step, input_signature=[spec], autograph=False)

    strategy = tf.distribute.get_strategy()
    local_replicas = strategy.num_replicas_in_sync // this_process().count

    def on_replica(batch: Any) -> Any:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        batch_rows = tf.shape(tf.nest.flatten(batch)[0])[0]
        rows = own_rows(batch_rows, Shard(replica % local_replicas, local_replicas))
        return step(tf.nest.map_structure(lambda values: values[rows], batch))

    def on_replicas(batch: Any) -> Any:
        results = strategy.run(lambda: on_replica(batch))
        return tf.nest.map_structure(lambda v: strategy.experimental_local_results(v)[0], results)

    return tf.function(on_replicas, input_signature=[spec], autograph=False)


def gathered(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Concatenates arrays (rows,) of all processes, in the processes' order."""
    if this_process().count == 1:
        return list(arrays)
    gather = _compile_gather(tf.distribute.get_strategy(), tuple(a.dtype.name for a in arrays))
    return [whole.numpy() for whole in gather([tf.constant(array) for array in arrays])]


# Compiled once, whatever the arrays' lengths: TensorFlow numbers collective operations when they
# are traced, so a function that one process traces more often than another would never return.
@functools.lru_cache(maxsize=8)
def _compile_gather(
    strategy: tf.distribute.Strategy, dtypes: tuple[str, ...]
) -> Callable[..., Any]:
    local_replicas = strategy.num_replicas_in_sync // this_process().count

    def on_replica(arrays: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # Of a process's replicas, which all have its arrays, the first one sends them.
        context = tf.distribute.get_replica_context()
        is_first = tf.cast(context.replica_id_in_sync_group % local_replicas == 0, tf.int32)
        return [context.all_gather(a[: is_first * tf.size(a)], axis=0) for a in arrays]

    def gather(arrays: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        results = strategy.run(lambda: on_replica(arrays))
        return [strategy.experimental_local_results(result)[0] for result in results]

    specs = [tf.TensorSpec((None,), dtype) for dtype in dtypes]
    return tf.function(gather, input_signature=[specs], autograph=False)


def meet() -> None:
    """Returns once every process has called it."""
    _compile_meeting(tf.distribute.get_strategy())()


@functools.lru_cache(maxsize=2)
def _compile_meeting(strategy: tf.distribute.Strategy) -> Callable[[], Any]:
    def count() -> Any:
        return strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)

    return tf.function(count, autograph=False)
