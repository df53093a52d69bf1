"""What each task's ticket keeps of the attention to what users did before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.reports.text_tables import markdown_table, number_cell
from lt4rec_tf.schema.events import EventSequence
from lt4rec_tf.tickets.masks import Masks, overlap

Blocks = dict[str, tuple[str, slice]]  # what it is about -> kernel, its rows


@dataclass(frozen=True)
class AttentionShares:
    """What the tickets of a model keep of the attention to one sequence of events.

    Attributes:
        sequence: Its name.
        shares: What is looked at -> task -> share of its weights that the task keeps, in [0, 1].
        overlaps: What is looked at -> |AND| / |OR| of the tasks' masks; nan where none keeps a
            weight.
        kept: Task -> number of weights that it keeps of all of these.
        weights: Number of all of these.
    """

    sequence: str
    shares: Mapping[str, Mapping[str, float]]
    overlaps: Mapping[str, float]
    kept: Mapping[str, int]
    weights: int


def blocks_of(sequence: EventSequence, dimension: int) -> Blocks:
    """Returns the rows of an attention's first kernels by what they are about.

    Args:
        sequence: Its lists, and what they are compared with.
        dimension: Length of a vector.
    """

    def rows(place: int) -> slice:
        return slice(place * dimension, (place + 1) * dimension)

    blocks: Blocks = {}
    for place, events in enumerate(sequence.lists):
        blocks[f"event's {events.name}"] = "event_kernel", rows(place)
    for place, (_, candidate) in enumerate(sequence.compared):
        blocks[f"candidate's {candidate.name}"] = "candidate_kernel", rows(place)
    for place, (compared, candidate) in enumerate(sequence.compared):
        name = f"{sequence.lists[compared].name} x {candidate.name}"
        blocks[name] = "product_kernel", rows(place)
    return blocks


def shares_of_attention(
    sequence: EventSequence, dimension: int, masks_by_task: Mapping[str, Masks]
) -> AttentionShares:
    """Measures what tasks keep of the attention to one sequence of events.

    Args:
        sequence: Its lists, and what they are compared with.
        dimension: Length of a vector.
        masks_by_task: Task -> kernel of the attention -> bool (inputs, units).
    """
    kernels = next(iter(masks_by_task.values()))
    parts = {
        what: {task: masks[kernel][rows] for task, masks in masks_by_task.items()}
        for what, (kernel, rows) in blocks_of(sequence, dimension).items()
    }
    for kernel in kernels:
        if kernel.startswith("kernel_"):  # above the first layer
            parts[kernel] = {task: masks[kernel] for task, masks in masks_by_task.items()}

    shares = {
        what: {task: float(mask.mean()) for task, mask in by_task.items()}
        for what, by_task in parts.items()
    }
    overlaps = {
        what: overlap([{what: mask} for mask in by_task.values()])
        for what, by_task in parts.items()
    }
    kept = {
        task: sum(int(np.count_nonzero(mask)) for mask in masks.values())
        for task, masks in masks_by_task.items()
    }
    weights = sum(mask.size for mask in kernels.values())
    overlaps["all"] = overlap([*masks_by_task.values()])
    shares["all"] = {task: count / weights for task, count in kept.items()}
    return AttentionShares(sequence.name, shares, overlaps, kept, weights)


def attention_title(shares: AttentionShares, model: str) -> str:
    """Returns a line that says what `attention_table` shows, and how many weights are kept."""
    kept = " and ".join(f"{task} {count:,}" for task, count in shares.kept.items())
    return (
        f"what each task's ticket of {model} keeps of the attention to {shares.sequence}: "
        f"{kept} of {shares.weights:,} weights"
    )


def attention_table(shares: AttentionShares) -> str:
    """Returns the shares that tasks keep of what they look at, and how far the tickets overlap.

    Args:
        shares: Of a model's tickets.

    Returns:
        A Markdown table.
    """
    lines = []
    for what, by_task in shares.shares.items():
        overlapping = shares.overlaps[what]
        defined = None if math.isnan(overlapping) else overlapping
        kept = [number_cell(share, 3) for share in by_task.values()]
        lines.append([what, *kept, number_cell(defined, 3)])
    return markdown_table(["weights of", *shares.kept, "overlap"], lines)
