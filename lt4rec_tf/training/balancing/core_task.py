"""Rules under which all tasks give way to the last one, the core task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import (
    Gradient,
    balanced_sum,
    inner_products,
    owners,
    weighted_sum,
)

METABALANCE_RELAXATION = 0.7
METABALANCE_DECAY = 0.9


@dataclass(frozen=True)
class Core:
    """How far HTLNet's rule goes.

    Attributes:
        projection: alpha in [0, 1]; 1 takes out all that conflicts.
        relaxation: gamma in [0, 1]; 0 leaves magnitudes as they are.
        clip: C, 1 or more: ratios of norms are clipped to [1 / C, C].
    """

    projection: float
    relaxation: float
    clip: float


# alpha as in the paper, by a third party's account; gamma and C of another's implementation.
HTLNET_CORE = Core(projection=1.0, relaxation=0.1, clip=10.0)


class HybridTargets:
    """HTLNet's rule: gradients that conflict with the core task's are projected, all are scaled.

    With G_c the core task's gradient of all shared parameters and G_t another task's:

    G_t <- G_t - alpha (G_t . G_c) / |G_c|^2 G_c  where G_t . G_c < 0
    G_t <- (gamma w + 1 - gamma) G_t,  w = |G_c| / |G_t| clipped to [1 / C, C]

    The norm in w is that before the projection. The update is G_c + sum_t G_t: what the core task
    itself asks for is never changed. On a batch without a row of the core task's population, whose
    G_c is 0, the others' gradients stay as they are.

    Shared are the parameters that every task has a gradient for: in HTLNet embeddings and cross
    layer, in sparse sharing the tower too, in a mixture its common experts. The others, such as
    label embeddings and fusion, have the sum of the gradients that there are.

    Every adjusted gradient is a combination of two, so inner products say it all and no embedding
    table is made dense: all tasks touch the batch's rows. Source: HTLNet (Tang et al., RecSys 2024,
    arXiv 2403.17442), Algorithm 1, by a third party's account of it.

    Args:
        core: How far it goes.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.state: dict[str, tf.Variable] = {}

    def reset(self) -> None:
        """Has nothing to forget."""

    def targets(self, losses: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Each task's loss."""
        return list(losses)

    def combine(
        self,
        losses: Sequence[tf.Tensor],
        gradients: Sequence[Sequence[Gradient | None]],
        variables: Sequence[tf.Variable],
    ) -> list[Gradient | None]:
        """Sums the adjusted gradients."""
        return balanced_sum(
            gradients, len(losses), lambda products: adjusted_weights(products, self._core)
        )


class MetaBalance:
    """Scales every task's gradient towards the core task's norm, tensor by tensor.

    n_t <- .9 n_t + .1 |g_t|;  g_t <- (r n_c / n_t + 1 - r) g_t,  r = .7

    for every shared tensor (see `HybridTargets`), c the core task; n starts at 0, as in the
    authors' code, where its bias cancels in the ratio. Source: MetaBalance (He et al., WWW 2022,
    arXiv 2203.06801), Algorithm 1, relaxed.

    Args:
        tasks: Their number.
        tensors: Number of trained variables.
    """

    def __init__(self, tasks: int, tensors: int) -> None:
        self._norms = tf.Variable(
            tf.zeros((tensors, tasks)),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.state = {"norms": self._norms}

    def reset(self) -> None:
        """Forgets all norms."""
        self._norms.assign(tf.zeros_like(self._norms))

    def targets(self, losses: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Each task's loss."""
        return list(losses)

    def combine(
        self,
        losses: Sequence[tf.Tensor],
        gradients: Sequence[Sequence[Gradient | None]],
        variables: Sequence[tf.Variable],
    ) -> list[Gradient | None]:
        """Sums the scaled gradients."""
        by_variable = list(zip(*gradients, strict=True))
        plain = tf.ones(len(losses))
        found = [
            tf.sqrt(tf.linalg.diag_part(inner_products(parts)))
            if owners(parts) == len(losses)
            else tf.zeros(len(losses))
            for parts in by_variable
        ]
        norms = METABALANCE_DECAY * self._norms + (1 - METABALANCE_DECAY) * tf.stack(found)
        self._norms.assign(norms)
        ratios = tf.math.divide_no_nan(norms[:, -1:], norms)
        weights = METABALANCE_RELAXATION * ratios + 1 - METABALANCE_RELAXATION
        return [
            weighted_sum(parts, of_tensor if owners(parts) == len(losses) else plain)
            for parts, of_tensor in zip(by_variable, tf.unstack(weights), strict=True)
        ]


def adjusted_weights(products: tf.Tensor, core: Core) -> tf.Tensor:
    """How often each task's gradient is in the sum of those that `HybridTargets` adjusts.

    >>> at_135_degrees = tf.constant([[2.0, -1.0], [-1.0, 1.0]])  # the core task is the last
    >>> projected = Core(projection=1.0, relaxation=0.0, clip=10.0)
    >>> adjusted_weights(at_135_degrees, projected).numpy().tolist()
    [1.0, 2.0]

    Args:
        products: float32 (tasks, tasks), inner products G_i . G_j.
        core: How far the rule goes.

    Returns:
        float32 (tasks,), w of the sum sum_t w_t G_t.
    """
    squares = tf.linalg.diag_part(products)
    of_core, with_core = squares[-1], products[:-1, -1]
    ratios = tf.sqrt(tf.math.divide_no_nan(of_core, squares[:-1]))
    clipped = tf.clip_by_value(ratios, 1 / core.clip, core.clip)
    scales = tf.where(of_core > 0.0, core.relaxation * clipped + 1 - core.relaxation, 1.0)
    cut = core.projection * tf.math.divide_no_nan(tf.minimum(with_core, 0.0), of_core)
    return tf.concat([scales, [1.0 - tf.reduce_sum(scales * cut)]], axis=0)
