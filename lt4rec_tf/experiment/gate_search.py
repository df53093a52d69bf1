"""Sparse sharing whose tickets are learned, not searched: the model s_gates.

One joint training of a few passes learns, beside the weights, what each weight is worth to each
task (`training.mask_scores`), and keeps ever fewer for it. What is left at its end are the tasks'
tickets. They are worn from theta_0 on in a second joint training, the model's.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.level_search import groups_of_inputs
from lt4rec_tf.experiment.paths import GATES, TRAINING, model_folder, model_masks
from lt4rec_tf.experiment.run import Run, joint_trainer, load_start, network_in, plan_of
from lt4rec_tf.experiment.trained_models import masked_network
from lt4rec_tf.tickets.masks import Masks, ones_like, write_masks
from lt4rec_tf.tickets.parts import prune_parts
from lt4rec_tf.tickets.scores import Scores, keep_best_pieces, keep_highest
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training.mask_scores import Prune, cut_along, scores_of, with_scores

MODEL = "s_gates"


def train_model(run: Run) -> None:
    """Learns the tickets, then trains all tasks wearing them; what is done is skipped."""
    folder = model_folder(run.folder, MODEL)
    if all(model_masks(folder, task).exists() for task in run.tasks):
        run.progress.skip(run.settings.tickets.gate_epochs * run.feed.steps_per_epoch)
    else:
        _learn_tickets(run, folder)
    artifacts.remove(folder / GATES / TRAINING / WEIGHTS)

    network = masked_network(run.folder, MODEL, run.settings, run.schema)
    load_start(run, network)
    plan = plan_of(run, run.settings.training.epochs)
    joint_trainer(run, network).fit(folder / TRAINING, MODEL, plan)


def pending_epochs(settings: Settings, folder: Path) -> int:
    """Returns the epochs that both trainings may still take.

    Args:
        settings: The run's.
        folder: RUN.
    """
    own = model_folder(folder, MODEL)
    if artifacts.is_done(own / TRAINING):
        return 0
    learned = artifacts.is_done(own / GATES / TRAINING)
    return settings.training.epochs + (0 if learned else settings.tickets.gate_epochs)


def _learn_tickets(run: Run, folder: Path) -> None:
    """Trains with scores, and writes the masks that they end with."""
    plain = network_in(run, MODEL)
    load_start(run, plain)
    network = with_scores(plain)

    prune, final_density = _prune_of(run), run.settings.tickets.final_density
    epochs = run.settings.tickets.gate_epochs
    steps = epochs * run.feed.steps_per_epoch
    cut = cut_along(network, prune, final_density, steps)
    # The schedule runs to its end, whatever validation says on the way.
    plan = dataclasses.replace(plan_of(run, epochs), patience=0, keep_last=True)
    trainer = joint_trainer(run, network, before_step=cut)
    trainer.fit(folder / GATES / TRAINING, f"{MODEL}/gates", plan)

    for task in run.tasks:
        write_masks(model_masks(folder, task), prune(scores_of(network, task), final_density))


def _prune_of(run: Run) -> Prune:
    """Returns what makes masks of scores: of single weights, or of neurons and groups of inputs."""
    by_pieces = run.settings.tickets.pruned_unit == "neuron"
    groups = [*groups_of_inputs(run.settings, run.schema).values()]

    def prune(scores: Scores, density: float) -> Masks:
        def keep_of(part: Masks) -> int:
            return max(1, round(density * sum(mask.size for mask in part.values())))

        def prune_part(part: Scores, _: Masks, keep: int) -> Masks:
            return keep_best_pieces(part, keep, groups) if by_pieces else keep_highest(part, keep)

        return prune_parts(prune_part, scores, ones_like(scores), keep_of)

    return prune
