"""Kernels with which tasks attend to events in a version, masks folded in."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lt4rec_tf.models.layers.event_attention import Parameters
from lt4rec_tf.models.layers.event_pooling import UNMASKED, Wearing
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.serving.tower_inputs import SHARED
from lt4rec_tf.tickets.parts import ATTENTION


class WornAttention(tf.Module):
    """What pools the events of shared field vectors: a view for tasks whose masks are equal.

    Where no task masks the attention there is one view, of its parameters as they are.

    Attributes:
        view_of: Task -> the name of its view; the first view is `SHARED`.
        stored: What its views compute with, beside parameters that are not masked.

    Args:
        network: With its masks.
    """

    def __init__(self, network: RankingNetwork) -> None:
        super().__init__(name="attention")
        self.view_of = _views(network)
        self.stored: list[tf.Variable] = []
        # In a tuple: a module would store Keras's variables beside those that it needs.
        self._wearings = tuple(
            (view, self._wearing(network, self._tasks_of(view)[0]))
            for view in dict.fromkeys(self.view_of.values())
        )

    @property
    def views(self) -> dict[str, Wearing]:
        """Returns what each view computes with."""
        return dict(self._wearings)

    def tasks_by_view(self, tasks: Sequence[str]) -> dict[str, list[str]]:
        """Returns the views that some tasks need, each with its tasks."""
        by_view: dict[str, list[str]] = {}
        for task in tasks:
            by_view.setdefault(self.view_of[task], []).append(task)
        return by_view

    def _tasks_of(self, view: str) -> list[str]:
        return [task for task, of_task in self.view_of.items() if of_task == view]

    def _wearing(self, network: RankingNetwork, task: str) -> Wearing:
        """Stores W * M of a task's kernels."""
        if not network.attentions:
            return UNMASKED
        wearing = {}
        for name, attention in network.attentions.items():
            folded = {
                kernel: tf.Variable(
                    attention.parameters[kernel] * mask, trainable=False, name=f"{task}.{kernel}"
                )
                for kernel, mask in attention.masks[task].items()
            }
            self.stored += folded.values()
            parameters: Parameters = {**attention.parameters, **folded}
            wearing[name.removeprefix(ATTENTION)] = parameters
        return wearing


def _views(network: RankingNetwork) -> dict[str, str]:
    """Returns task -> the name of its view; tasks whose masks are equal have one."""
    name_of: dict[str, str] = {}
    view_of = {}
    for task in network.tasks:
        own = f"{SHARED}.{task}" if name_of else SHARED
        view_of[task] = name_of.setdefault(network.attention_digest(task), own)
    return view_of
