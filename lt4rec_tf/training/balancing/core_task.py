"""Rules that favour the last task, the core task: HTLNet's and MetaBalance."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from lt4rec_tf.training.balancing.gradients import (
    Gradient,
    balanced_sum,
    inner_products,
    owners,
    weighted_sum,
)
from lt4rec_tf.training.balancing.rule import Gradients, Losses, Rule, Variables

METABALANCE_RELAXATION = 0.7
METABALANCE_DECAY = 0.9


@dataclass(frozen=True)
class Core:
    """Parameters of HTLNet's rule.

    Attributes:
        projection: alpha in [0, 1]; 1 removes the conflicting component entirely.
        relaxation: gamma in [0, 1]; 0 keeps magnitudes as they are.
        clip: C, 1 or more: ratios of norms are clipped to [1 / C, C].
    """

    projection: float
    relaxation: float
    clip: float


# alpha is the paper's, as a third party reports it; gamma and C are those of an implementation by
# others.
HTLNET_CORE = Core(projection=1.0, relaxation=0.1, clip=10.0)


class HybridTargets(Rule):
    """HTLNet's rule: gradients that conflict with the core task's are projected, all are scaled.

    With G_c the core task's gradient of all shared parameters and G_t another task's:

    G_t <- G_t - alpha (G_t . G_c) / |G_c|^2 G_c  where G_t . G_c < 0
    G_t <- (gamma w + 1 - gamma) G_t,  w = |G_c| / |G_t| clipped to [1 / C, C]

    The norm in w is that before the projection. The update is G_c + sum_t G_t: the core task's own
    gradient is never changed. On a batch without a row of the core task's population, G_c is 0 and
    the others' gradients stay as they are.

    Shared parameters are those that every task has a gradient for: in HTLNet embeddings and cross
    layer, in sparse sharing the tower too, in a mixture its common experts. All other parameters,
    such as label embeddings and fusion, are updated by the plain sum of their gradients.

    Every adjusted gradient is a combination of two, so inner products are sufficient and no
    embedding table is made dense: all tasks touch the batch's rows. Source: HTLNet (Tang et al.,
    RecSys 2024, arXiv 2403.17442), Algorithm 1, as a third party reports it.

    Args:
        core: Its parameters.
    """

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Sums the adjusted gradients."""
        return balanced_sum(
            gradients, len(losses), lambda products: adjusted_weights(products, self._core)
        )


class MetaBalance(Rule):
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
        super().__init__(state={"norms": self._norms})

    def reset(self) -> None:
        """Clears all norms."""
        self._norms.assign(tf.zeros_like(self._norms))

    def combine(
        self, losses: Losses, gradients: Gradients, variables: Variables
    ) -> list[Gradient | None]:
        """Sums the scaled gradients."""
        by_variable = list(zip(*gradients, strict=True))
        is_shared = [owners(parts) == len(losses) for parts in by_variable]

        batch_norms = []
        for parts, shared in zip(by_variable, is_shared, strict=True):
            if shared:
                batch_norms.append(tf.sqrt(tf.linalg.diag_part(inner_products(parts))))
            else:
                batch_norms.append(tf.zeros(len(losses)))
        norms = METABALANCE_DECAY * self._norms + (1 - METABALANCE_DECAY) * tf.stack(batch_norms)
        self._norms.assign(norms)

        ratios = tf.math.divide_no_nan(norms[:, -1:], norms)
        weights = METABALANCE_RELAXATION * ratios + 1 - METABALANCE_RELAXATION
        plain = tf.ones(len(losses))
        combined = []
        for parts, shared, row in zip(by_variable, is_shared, tf.unstack(weights), strict=True):
            combined.append(weighted_sum(parts, row if shared else plain))
        return combined


def adjusted_weights(products: tf.Tensor, core: Core) -> tf.Tensor:
    """Returns each task's weight in the sum of the gradients that `HybridTargets` adjusts.

    >>> at_135_degrees = tf.constant([[2.0, -1.0], [-1.0, 1.0]])  # the core task is the last
    >>> projected = Core(projection=1.0, relaxation=0.0, clip=10.0)
    >>> adjusted_weights(at_135_degrees, projected).numpy().tolist()
    [1.0, 2.0]

    Args:
        products: float32 (tasks, tasks), inner products G_i . G_j.
        core: Parameters of the rule.

    Returns:
        float32 (tasks,), w of the sum sum_t w_t G_t.
    """
    squares = tf.linalg.diag_part(products)
    core_square, core_products = squares[-1], products[:-1, -1]

    ratios = tf.sqrt(tf.math.divide_no_nan(core_square, squares[:-1]))
    clipped = tf.clip_by_value(ratios, 1 / core.clip, core.clip)
    scales = tf.where(core_square > 0.0, core.relaxation * clipped + 1 - core.relaxation, 1.0)

    # The share of G_c that projection takes out of each G_t, at most 0.
    cut = core.projection * tf.math.divide_no_nan(tf.minimum(core_products, 0.0), core_square)
    return tf.concat([scales, [1.0 - tf.reduce_sum(scales * cut)]], axis=0)
