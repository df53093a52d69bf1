"""Rule: the base of all ways to combine the losses of several tasks into one update.

A rule defines which scalars are differentiated and how their gradients are combined. The losses
that it is given are those of Eq. 2, already multiplied by their weights: with weights of 1 each
rule is its paper's. As with `tf.GradientTape`, there is a gradient or None for each variable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import Gradient

Losses = Sequence[tf.Tensor]
Gradients = Sequence[Sequence[Gradient | None]]
Variables = Sequence[tf.Variable]


class Rule(ABC):
    """Turns the tasks' losses into one gradient for each variable.

    Attributes:
        state: The rule's variables by name; a checkpoint must hold them.
    """

    def __init__(self, state: dict[str, tf.Variable] | None = None) -> None:
        self.state = state or {}

    def reset(self) -> None:
        """Sets the rule's state to that before its first step."""
        if self.state:
            raise NotImplementedError("a rule that has a state must reset it")

    def targets(self, losses: Losses) -> list[tf.Tensor]:
        """Returns the scalars to differentiate, each task's loss; called within the tape."""
        return list(losses)

    @abstractmethod
    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Returns the update's gradients, and updates the rule's own state.

        Args:
            losses: One scalar a task.
            gradients: For each target its gradients of the variables.
            variables: Those that are trained.
        """
