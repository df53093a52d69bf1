"""A run's progress and time left: one line, rewritten on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import SupportsFloat, TextIO

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 5.0
# The first steps include the tracing of a graph: an estimate from them is far too long.
SHARE_BEFORE_ESTIMATE = 0.01


class Progress:
    """Prints a run's progress: stage, epoch, step, examples/s, losses, time left.

    On a terminal one line is rewritten in place; elsewhere (a file, a pipe) a line is printed every
    few seconds. The end of an epoch always prints a line that stays.

    The time left is `steps to come * seconds so far / steps so far`, so that validation, tracing
    and saving are included. Steps of an earlier process count neither as work done here nor as work
    to come: see `skip`.

    Args:
        total_steps: Training steps of the whole run, over all stages.
        batch_size: Examples of a full batch.
        out: Where lines go; standard error when None.
        interval_seconds: Least time between two lines; chosen by the kind of `out` when None.
        clock: Seconds on a clock that never goes back.
        may_end_early: Whether a stage may end before its last pass: then the time left is said to
            be the most, while passes are to come.

    >>> seconds = iter(range(100))
    >>> with Progress(8, 32, sys.stdout, 2, clock=lambda: next(seconds)) as progress:
    ...     progress.start_stage("base_cvr", epochs=1, steps_per_epoch=8)
    ...     for loss in (0.5, 0.25, 0.125, 0.0625):
    ...         progress.step({"cvr": loss})
    base_cvr | epoch 1/1 | step 2/8 | 32 examples/s | loss cvr 0.2500 | 6 s left
    base_cvr | epoch 1/1 | step 4/8 | 32 examples/s | loss cvr 0.0625 | 4 s left
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int,
        out: TextIO | None = None,
        interval_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        may_end_early: bool = False,
    ) -> None:
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._out = sys.stderr if out is None else out
        self._on_terminal = self._out.isatty()
        kind_seconds = TERMINAL_SECONDS if self._on_terminal else LOG_SECONDS
        self._interval = kind_seconds if interval_seconds is None else interval_seconds
        self._clock = clock
        self._may_end_early = may_end_early

        self._started: float | None = None  # when the first stage began
        self._taken = 0  # steps of this process
        self._passed = 0  # steps that are not to come: taken, skipped, or never there
        self._last_line = 0.0
        self._drawn = 0  # characters of the line that the terminal displays now

        self._stage = ""
        self._epochs = self._epoch = 0
        self._steps_per_epoch = self._step = 0
        self._losses: dict[str, SupportsFloat] = {}
        self._epoch_started = self._last_step = 0.0
        self._first_step: float | None = None  # when the epoch's first step ended
        self._first_examples = self._later_examples = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start_stage(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        """Begins a stage.

        Args:
            name: As it is displayed, such as "tickets/cvr level 2/4".
            epochs: Passes over the data.
            steps_per_epoch: Steps of one pass, as far as known; an epoch that ends earlier or later
                corrects the time left.
        """
        now = self._clock()
        if self._started is None:
            self._started = self._last_line = now
        self._stage, self._epochs, self._steps_per_epoch = name, epochs, steps_per_epoch
        self._epoch = 1
        self._losses = {}
        self._begin_epoch(now)

    def step(self, losses: Mapping[str, SupportsFloat], examples: float | None = None) -> None:
        """Counts a training step and prints a line when one is due.

        Args:
            losses: Task -> loss of this step; a task that the step did not train keeps its last
                one. Converted to float only when a line is due, because reading a tensor waits for
                the device.
            examples: Rows of this batch; None: a full batch.
        """
        now = self._clock()
        rows = self._batch_size if examples is None else examples
        self._step += 1
        self._taken += 1
        self._passed += 1
        self._losses.update(losses)
        self._last_step = now

        # The epoch's first step may trace a graph: speed is that of the later ones.
        if self._first_step is None:
            self._first_step, self._first_examples = now, rows
        else:
            self._later_examples += rows

        if now - self._last_line >= self._interval:
            self._last_line = now
            self._show(self._line(now))

    def end_epoch(self, metrics: Mapping[str, SupportsFloat]) -> None:
        """Prints the line of a finished epoch, which stays.

        Args:
            metrics: Name (task and metric) -> value on validation; empty: nothing was measured.
        """
        now = self._clock()
        self._passed += self._steps_per_epoch - self._step
        self._print(" | ".join(self._parts(now, metrics)))
        self._last_line = now
        self._epoch += 1
        self._begin_epoch(now)

    def skip(self, steps: int) -> None:
        """Passes over steps that an earlier process took.

        They move the open stage's position forward. Where no stage is open (whole stages were done
        before) nothing is displayed: the next stage starts at its beginning.

        Args:
            steps: How many.
        """
        self._passed += steps
        whole, part = divmod(self._step + steps, max(1, self._steps_per_epoch))
        self._epoch += whole
        self._step = part

    def note(self, text: str) -> None:
        """Prints a line that stays, without breaking the line that a terminal displays."""
        self._print(text)

    def close(self) -> None:
        """Ends the line that a terminal displays; may be called twice."""
        if self._drawn:
            self._out.write("\n")
            self._drawn = 0
        self._out.flush()

    def _begin_epoch(self, now: float) -> None:
        self._step = 0
        self._epoch_started = self._last_step = now
        self._first_step = None
        self._first_examples = self._later_examples = 0.0

    def _examples_per_second(self) -> float | None:
        """Returns the epoch's speed; its first step, which may trace a graph, counts when alone."""
        if self._first_step is None:
            return None
        if self._later_examples:
            examples, seconds = self._later_examples, self._last_step - self._first_step
        else:
            examples, seconds = self._first_examples, self._first_step - self._epoch_started
        return examples / seconds if seconds > 0 else None

    def _seconds_left(self, now: float) -> float | None:
        to_come = max(0, self._total_steps - self._passed)
        if to_come == 0:
            return 0.0
        if not self._taken or self._taken < SHARE_BEFORE_ESTIMATE * self._total_steps:
            return None
        return to_come * (now - (self._started or 0.0)) / self._taken

    def _time_left(self, now: float) -> str:
        """Writes the time left, "" where too little is known."""
        seconds = self._seconds_left(now)
        if seconds is None:
            return ""
        has_passes_to_come = self._total_steps - self._passed > self._steps_per_epoch - self._step
        at_most = "at most " * (self._may_end_early and has_passes_to_come)
        return f"{at_most}{duration(seconds)} left"

    def _parts(self, now: float, metrics: Mapping[str, SupportsFloat]) -> list[str]:
        speed = self._examples_per_second()
        losses = ", ".join(f"{task} {float(loss):.4f}" for task, loss in self._losses.items())
        validation = ", ".join(f"{task} {float(value):.5f}" for task, value in metrics.items())

        parts = [
            self._stage,
            f"epoch {self._epoch}/{self._epochs}",
            f"step {self._step}/{self._steps_per_epoch}",
            "" if speed is None else f"{speed:,.0f} examples/s",
            f"loss {losses}" if losses else "",
            f"validation {validation}" if validation else "",
            self._time_left(now),
        ]
        return [part for part in parts if part]

    def _line(self, now: float) -> str:
        parts = self._parts(now, {})
        if self._on_terminal:
            # A narrow terminal loses the middle (speed, then losses) before the time left.
            while len(" | ".join(parts)) > self._width() and len(parts) > 4:
                del parts[3]
        return " | ".join(parts)

    def _width(self) -> int:
        """Returns a line's length; some terminals wrap at the last column, which stays free."""
        try:
            columns = os.get_terminal_size(self._out.fileno()).columns
        except OSError:
            columns = 0
        return max(1, (columns or 80) - 1)

    def _show(self, line: str) -> None:
        if not self._on_terminal:
            self._print(line)
            return
        clipped = line[: self._width()]
        self._out.write("\r" + clipped.ljust(self._drawn))
        self._out.flush()
        self._drawn = len(clipped)

    def _print(self, line: str) -> None:
        start = "\r" if self._drawn else ""
        self._out.write(start + line.ljust(self._drawn) + "\n")
        self._out.flush()
        self._drawn = 0


def duration(seconds: float) -> str:
    """Returns a length of time in words, in its two largest units.

    >>> duration(8.4), duration(100), duration(7500), duration(100_000)
    ('8 s', '1 min 40 s', '2 h 5 min', '1 d 3 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
