"""Passes over a split in parts, each of which is scheduled on a free worker.

A part is read and trained on by one closure of TensorFlow's coordinator. If a worker is lost, only
its present part is lost: another worker takes that part from its beginning. Workers are
asynchronous, so the order of their updates, and with it the last digits, are random.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.distributed.replicas import workers_of_servers

# Parts scheduled at a time for each worker: the present one and the next.
PARTS_AHEAD = 2

Opened = Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]


@dataclass(frozen=True, eq=False)
class Pass:
    """A pass over a split in parts.

    Attributes:
        open: (part, seeds) -> the part's batches, in graph; the same for every pass.
        parts: Their numbers, in order.
        rows: Number of rows of each part, as far as it is known.
        seeds: int64 (2,), which decide the order of a part's rows.
        fault: From an error of TensorFlow to one that names the file that caused it; None: no file
            did.
    """

    open: Opened
    parts: tuple[int, ...]
    rows: tuple[float, ...]
    seeds: np.ndarray
    fault: Callable[[Exception], Exception | None]


def compile_part(
    opened: Opened, steps: Sequence[Callable[[Any], Mapping[str, tf.Tensor]]], tasks: Sequence[str]
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Compiles the function that trains on a part.

    Args:
        opened: See `Pass.open`.
        steps: Taken in turn, batch by batch; each returns the losses of the tasks that it trains.
        tasks: All tasks that are trained.

    Returns:
        (part, seeds) -> {task: mean of its batches' losses}, 0 where no batch trained it.
    """
    strategy = tf.distribute.get_strategy()

    def losses_of(step: Callable[[Any], Mapping[str, tf.Tensor]], batch: Any) -> tf.Tensor:
        losses = step(batch)
        loss_and_count = [[losses[task], 1.0] if task in losses else [0.0, 0.0] for task in tasks]
        return tf.convert_to_tensor(loss_and_count)

    def take_step(number: tf.Tensor, batch: Any) -> tf.Tensor:
        def branch(step: Callable[[Any], Mapping[str, tf.Tensor]]) -> Callable[[], tf.Tensor]:
            return lambda: strategy.run(losses_of, args=(step, batch))

        if len(steps) == 1:
            return branch(steps[0])()
        return tf.switch_case(tf.cast(number % len(steps), tf.int32), [*map(branch, steps)])

    def train_part(part: tf.Tensor, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = tf.zeros((len(tasks), 2))
        # Numbers begin at the part's, so that not all parts begin with the same step.
        for number, batch in opened(part, seeds).enumerate(part):
            sums += take_step(number, batch)
        means = tf.math.divide_no_nan(sums[:, 0], sums[:, 1])
        return {task: means[i] for i, task in enumerate(tasks)}

    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    return tf.function(train_part, input_signature=signature)


def compile_reading(
    opened: Opened, arrays_of: Callable[[Any], Sequence[tf.Tensor]], dtypes: Sequence[tf.DType]
) -> Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]:
    """Compiles the function that computes values for every row of a part.

    Args:
        opened: See `Pass.open`.
        arrays_of: From a batch to tensors (batch,).
        dtypes: Types of these tensors.

    Returns:
        (part, seeds) -> the tensors, concatenated over all batches of the part.
    """

    def read_part(part: tf.Tensor, seeds: tf.Tensor) -> list[tf.Tensor]:
        columns = tuple(tf.zeros((0,), dtype) for dtype in dtypes)
        for batch in opened(part, seeds):
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[(column, tf.TensorShape((None,))) for column in columns]
            )
            pairs = zip(columns, arrays_of(batch), strict=True)
            columns = tuple([tf.concat(pair, axis=0) for pair in pairs])
        return list(columns)

    signature = [tf.TensorSpec((), tf.int64), tf.TensorSpec((2,), tf.int64)]
    return tf.function(read_part, input_signature=signature)


def take_parts(
    split: Pass, work: Callable[..., Any], pause: int = 0, first: int = 0
) -> Iterator[tuple[Any, float]]:
    """Has the workers take a pass's parts.

    Args:
        split: The pass.
        work: From `compile_part` or `compile_reading`.
        pause: After so many parts of the whole pass, all scheduled parts are waited for, so that it
            is known what was trained; 0: only at the end.
        first: Number of earlier parts of the whole pass.

    Yields:
        The work's result, and the number of rows of its part, in the pass's order.

    Raises:
        Exception: The result of `Pass.fault`, where a worker could not read a file.
    """
    try:
        yield from _scheduled(split, work, pause, first)
    except tf.errors.OpError as error:
        fault = split.fault(error)
        if fault is None:
            raise
        raise fault from error


def _scheduled(
    split: Pass, work: Callable[..., Any], pause: int, first: int
) -> Iterator[tuple[Any, float]]:
    coordinator = tf.distribute.coordinator.ClusterCoordinator(tf.distribute.get_strategy())
    most_waiting = PARTS_AHEAD * workers_of_servers()
    seeds = tf.constant(split.seeds, tf.int64)
    waiting: deque[tuple[Any, float]] = deque()

    for number, (part, rows) in enumerate(zip(split.parts, split.rows, strict=True), first + 1):
        result = coordinator.schedule(work, args=(tf.constant(part, tf.int64), seeds))
        waiting.append((result, rows))
        is_last = number - first == len(split.parts)
        pauses = is_last or (pause and number % pause == 0)
        while waiting and (pauses or len(waiting) >= most_waiting):
            result, rows = waiting.popleft()
            yield result.fetch(), rows
