"""Scores of a task's weights, learned while all tasks train together.

A mask M is 0 or 1, but the loss L(W * M) has a gradient by it as if it were any number, of weights
that are cut too: dL/dM = W * dL/d(W * M) (straight-through). The score S sums -dL/dM over the
steps: by how much a step of gradient descent would have raised the mask. What a task's loss wants
larger has a high score, whatever other tasks that share the weight want of it.

Source: Sanh et al. (arXiv 2005.07683), movement pruning, section 4, Eq. 2 and 3; scores that are
learned beside weights after Ramanujan et al. (arXiv 1911.13299), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.tickets.scores import Scores, density_after

# Times at which masks are cut anew, in a whole training.
CUTS = 100

Prune = Callable[[Scores, float], Masks]  # scores of a task, density -> its masks


def with_scores(network: RankingNetwork) -> RankingNetwork:
    """Returns a network whose training steps learn scores of all its tasks' weights.

    Scores and masks are among its variables, so that a training that was stopped goes on.

    Args:
        network: Nothing of it is cut yet; its variables are shared, not copied.
    """
    scored, variables = [], dict(network.variables)
    for task in network.tasks:
        for kernel, mask in network.mask_variables(task).items():
            name = f"gates/{task}/{kernel}"
            score = tf.Variable(tf.zeros_like(mask), trainable=False, name=name)
            scored.append((mask, score))
            variables |= {f"{name}/mask": mask, f"{name}/score": score}
    return dataclasses.replace(network, variables=variables, scored=scored)


def add_to_scores(network: RankingNetwork, gradients: Sequence[Sequence[Any]]) -> None:
    """Subtracts a step's gradients from the scores; part of a compiled step.

    Args:
        network: As `with_scores` returns it.
        gradients: Of each loss of the step, by the masks in the order of `network.scored`; None
            where a loss does not depend on a mask.
    """
    for of_loss in gradients:
        for (_, score), gradient in zip(network.scored, of_loss, strict=True):
            if gradient is not None:
                score.assign_sub(gradient)


def scores_of(network: RankingNetwork, task: str) -> dict[str, np.ndarray]:
    """Returns what the weights of a task have scored, float32 (inputs, units) by kernel."""
    names = network.kernels(task)
    return {name: network.variables[f"gates/{task}/{name}/score"].numpy() for name in names}


def cut_along(
    network: RankingNetwork, prune: Prune, final_density: float, steps: int
) -> Callable[[int], None]:
    """Makes the function that cuts masks along the schedule, to be called before each step.

    Args:
        network: As `with_scores` returns it.
        prune: Makes masks of scores.
        final_density: At the schedule's end.
        steps: Training steps in all.

    Returns:
        Takes the number of steps done.
    """
    interval = max(1, steps // CUTS)

    def before_step(step: int) -> None:
        density = density_after(step / steps, final_density)
        if step % interval or density == 1.0:
            return
        for task in network.tasks:
            wear_as_numbers(network, task, prune(scores_of(network, task), density))

    return before_step


def wear_as_numbers(network: RankingNetwork, task: str, masks: Mapping[str, np.ndarray]) -> None:
    """Sets a task's masks without making its tower compact: cut weights get no gradient there."""
    for name, mask in network.mask_variables(task).items():
        mask.assign(masks[name].astype(np.float32))
