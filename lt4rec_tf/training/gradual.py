"""Gradual magnitude pruning by TensorFlow Model Optimization: a ticket from a single training.

Where Algorithm 1 trains once a level, this trains once in all. While the weights learn, the
sparsity of each kernel rises from 0 to the final one along
s_t = s_f - s_f (1 - (t - t_0) / (n dt))^3.
Source: Zhu and Gupta (arXiv 1710.01878), Eq. 1. Pruning is per kernel, not global.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.tickets.masks import Masks

# Pruning begins once the weights mean something and ends early enough to recover.
BEGIN_SHARE = 0.1
END_SHARE = 0.75
STEPS_OF_SCHEDULE = 50


@dataclass(frozen=True)
class GradualNetwork:
    """A single-task network whose kernels are pruned while it trains.

    Attributes:
        network: For the trainer; its variables include those of the pruning.
        wrappers: Layers of TensorFlow Model Optimization, one a kernel.
    """

    network: RankingNetwork
    wrappers: list[keras.layers.Layer]

    def before_step(self, step: int) -> None:
        """Passes the number of trained steps to the schedule; to be called before each step."""
        for wrapper in self.wrappers:
            wrapper.pruning_step.assign(step)

    def masks(self) -> Masks:
        """Returns the present ticket."""
        masks = {}
        for depth, wrapper in enumerate(self.wrappers):
            _, mask, _ = wrapper.pruning_vars[0]
            masks[f"tower_{depth}"] = np.asarray(mask.numpy(), bool)
        return masks


def build_gradual(
    dense: RankingNetwork, final_density: float, steps: int, block_width: int
) -> GradualNetwork:
    """Wraps a dense single-task network's tower for gradual pruning.

    Args:
        dense: A network of one task; its variables are shared, not copied.
        final_density: Share of each kernel's weights that are kept at the end, in (0, 1).
        steps: Training steps in all.
        block_width: Weights are cut in blocks of 1 x this many; 1 is unstructured.
    """
    # Here, not above: it takes seconds to import and only this finder needs it.
    from tensorflow_model_optimization.sparsity import keras as sparsity

    begin, end = int(BEGIN_SHARE * steps), max(1, int(END_SHARE * steps))
    schedule = sparsity.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=1.0 - final_density,
        begin_step=begin,
        end_step=end,
        frequency=max(1, (end - begin) // STEPS_OF_SCHEDULE),
    )

    (task,) = dense.tasks
    hidden = dense.bottom.output
    wrappers = []
    for layer in dense.towers[task]:
        wrapper = sparsity.prune_low_magnitude(
            layer.shared, pruning_schedule=schedule, block_size=(1, block_width)
        )
        hidden = wrapper(hidden)
        wrappers.append(wrapper)

    logit = keras.layers.Reshape((), name=f"{task}.gradual")(dense.heads[task](hidden))
    inputs = dense.model.input
    model = keras.Model(inputs, logit)
    network = RankingNetwork(
        model=keras.Model(inputs, {task: logit}),
        bottom=dense.bottom,
        task_models={task: model},
        towers={task: []},
        heads=dense.heads,
        variables=dense.variables | _pruning_variables(wrappers),
        counters=dense.counters,
    )
    return GradualNetwork(network, wrappers)


def _pruning_variables(wrappers: list[keras.layers.Layer]) -> dict[str, object]:
    variables = {}
    for depth, wrapper in enumerate(wrappers):
        _, mask, threshold = wrapper.pruning_vars[0]
        variables[f"gradual/tower_{depth}/mask"] = mask
        variables[f"gradual/tower_{depth}/threshold"] = threshold
        variables[f"gradual/tower_{depth}/step"] = wrapper.pruning_step
    return variables
