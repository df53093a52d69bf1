"""Passes over a split that workers read in parts, each of which whichever worker is free takes.

A part is read and trained on by one closure of TensorFlow's coordinator. A worker that is lost
while it works on a part loses that part alone: another worker takes it from its beginning. Workers
do not wait for each other, so the order of their updates, and with it the last digits, are chance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.distributed.replicas import workers_of_servers

# Parts given out at a time for each worker: one to work on, one to go on with.
GIVEN_AHEAD = 2

Opened = Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]


@dataclass(frozen=True, eq=False)
class Pass:
    """A pass over a split in parts.

    Attributes:
        open: (part, seeds) -> the part's batches, in graph; the same for every pass.
        parts: Those to take, in order.
        rows: Of each of them, as far as known.
        seeds: int64 (2,), which decide the order of a part's rows.
        fault: From an error of TensorFlow to one that names the file that it comes from; None: no
            file is at fault.
    """

    open: Opened
    parts: tuple[int, ...]
    rows: tuple[float, ...]
    seeds: np.ndarray
    fault: Callable[[Exception], Exception | None]


def compile_part(
    opened: Opened, steps: Sequence[Callable[[Any], Mapping[str, tf.Tensor]]], tasks: Sequence[str]
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Makes the function that trains on a part.

    Args:
        opened: See `Pass.open`.
        steps: Taken in turn, batch by batch; each returns the losses of the tasks that it trains.
        tasks: All of them.

    Returns:
        (part, seeds) -> {task: mean of its batches' losses}, 0 where no batch trained it.
    """
    strategy = tf.distribute.get_strategy()

    def losses_of(step: Callable[[Any], Mapping[str, tf.Tensor]], batch: Any) -> tf.Tensor:
        losses = step(batch)
        told = [[losses[task], 1.0] if task in losses else [0.0, 0.0] for task in tasks]
        return tf.convert_to_tensor(told)

    def take(place: tf.Tensor, batch: Any) -> tf.Tensor:
        def branch(step: Callable[[Any], Mapping[str, tf.Tensor]]) -> Callable[[], tf.Tensor]:
            return lambda: strategy.run(losses_of, args=(step, batch))

        if len(steps) == 1:
            return branch(steps[0])()
        return tf.switch_case(tf.cast(place % len(steps), tf.int32), [*map(branch, steps)])

    def train_part(part: tf.Tensor, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = tf.zeros((len(tasks), 2))
        for place, batch in opened(part, seeds).enumerate(part):  # not each part by the same task
            sums += take(place, batch)
        means = tf.math.divide_no_nan(sums[:, 0], sums[:, 1])
        return {task: means[i] for i, task in enumerate(tasks)}

    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    return tf.function(train_part, input_signature=signature)


def compile_reading(
    opened: Opened, arrays_of: Callable[[Any], Sequence[tf.Tensor]], dtypes: Sequence[tf.DType]
) -> Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]:
    """Makes the function that computes something for every row of a part.

    Args:
        opened: See `Pass.open`.
        arrays_of: From a batch to tensors (batch,).
        dtypes: Of these.

    Returns:
        (part, seeds) -> the tensors of all its batches below each other.
    """

    def read_part(part: tf.Tensor, seeds: tf.Tensor) -> list[tf.Tensor]:
        found = tuple(tf.zeros((0,), dtype) for dtype in dtypes)
        for batch in opened(part, seeds):
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(array, tf.TensorShape((None,))) for array in found]
            )
            longer = zip(found, arrays_of(batch), strict=True)
            found = tuple([tf.concat(both, axis=0) for both in longer])
        return list(found)

    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    return tf.function(read_part, input_signature=signature)


def take_parts(
    given: Pass, work: Callable[..., Any], pause: int = 0, first: int = 0
) -> Iterator[tuple[Any, float]]:
    """Has the workers take a pass's parts.

    Args:
        given: The pass.
        work: From `compile_part` or `compile_reading`.
        pause: After so many parts of the whole pass all that were given out are waited for, so that
            what was trained is known; 0: at the end alone.
        first: How many parts of the whole pass went before.

    Yields:
        What the work returned, and the rows of its part, in the pass's order.

    Raises:
        Exception: What `Pass.fault` finds, where a worker could not read a file.
    """
    try:
        yield from _taken(given, work, pause, first)
    except tf.errors.OpError as error:
        fault = given.fault(error)
        if fault is None:
            raise
        raise fault from error


def _taken(
    given: Pass, work: Callable[..., Any], pause: int, first: int
) -> Iterator[tuple[Any, float]]:
    coordinator = tf.distribute.coordinator.ClusterCoordinator(tf.distribute.get_strategy())
    ahead = GIVEN_AHEAD * workers_of_servers()
    seeds = tf.constant(given.seeds, tf.int64)
    waiting: deque[tuple[Any, float]] = deque()
    for place, (part, rows) in enumerate(zip(given.parts, given.rows, strict=True), first + 1):
        result = coordinator.schedule(work, args=(tf.constant(part, tf.int64), seeds))
        waiting.append((result, rows))
        ends = place - first == len(given.parts) or (pause and place % pause == 0)
        while waiting and (ends or len(waiting) >= ahead):
            result, rows = waiting.popleft()
            yield result.fetch(), rows
