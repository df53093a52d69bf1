"""An optimiser for embedding tables beside one for all other weights.

Rows of tables and kernels want different steps: a row is looked up by a few batches, a kernel by
all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras


class TwoOptimizers:
    """Updates embedding tables by one optimiser and other weights by another, in one step.

    Args:
        tables: Optimiser of the tables, built for them.
        others: Optimiser of all other weights, built for them.
        table_refs: `variable.ref()` of each table.

    Attributes:
        update_masks: As `LazyAdam.update_masks`; no table has one.
    """

    def __init__(
        self,
        tables: keras.optimizers.Optimizer,
        others: keras.optimizers.Optimizer,
        table_refs: Iterable[Any],
    ) -> None:
        self.tables, self.others = tables, others
        self._table_refs = frozenset(table_refs)

    @property
    def variables(self) -> list[tf.Variable]:
        """Returns the state of both, in an order that depends on the variables' alone."""
        return [*self.others.variables, *self.tables.variables]

    def is_table(self, variable: tf.Variable) -> bool:
        """Tells if a variable is one of the tables."""
        return variable.ref() in self._table_refs

    @property
    def update_masks(self) -> Mapping[Any, tf.Tensor]:
        """Returns the masks of the step at hand."""
        masks: Mapping[Any, tf.Tensor] = self.others.update_masks
        return masks

    @update_masks.setter
    def update_masks(self, masks: Mapping[Any, tf.Tensor]) -> None:
        self.others.update_masks = masks

    def apply_gradients(
        self,
        gradients_and_variables: Iterable[tuple[Any, tf.Variable]],
        skip_gradients_aggregation: bool = False,
    ) -> None:
        """Updates each variable that has a gradient here; as Keras's optimisers."""
        of_tables: list[tuple[Any, tf.Variable]] = []
        of_others: list[tuple[Any, tf.Variable]] = []
        for gradient, variable in gradients_and_variables:
            (of_tables if self.is_table(variable) else of_others).append((gradient, variable))
        self.others.apply_gradients(
            of_others, skip_gradients_aggregation=skip_gradients_aggregation
        )
        self.tables.apply_gradients(
            of_tables, skip_gradients_aggregation=skip_gradients_aggregation
        )
