"""Step size over a stage's steps: it may rise at the beginning and fall towards the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Factor of the step size, by the steps of a stage.

    Attributes:
        decay: "none"; "linear": from 1 to 0 over the stage; "cosine": the same along half a
            cosine, which falls late.
        warmup: Steps over which the factor rises from 0 to that of `decay`; 0: none.
    """

    decay: Literal["none", "linear", "cosine"] = "none"
    warmup: int = 0

    def factor(self, step: int, steps: int) -> float:
        """Returns the factor of a step, above 0 and at most 1.

        >>> linear = Schedule("linear", warmup=2)
        >>> [linear.factor(step, 4) for step in range(4)]
        [0.5, 0.75, 0.5, 0.25]
        >>> [round(Schedule("cosine").factor(step, 4), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]

        Args:
            step: Steps of the stage that are done.
            steps: Steps of the stage, more than `step`.
        """
        share = step / steps
        falling = 1.0
        if self.decay == "linear":
            falling = 1.0 - share
        elif self.decay == "cosine":
            falling = (1.0 + math.cos(math.pi * share)) / 2.0
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rising * falling
