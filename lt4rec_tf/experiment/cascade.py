"""Tasks that are learned one after another in one tower, each in what the others left: model csmf.

The first task of a chain trains the whole network. Pruning frees the smaller weights of each layer
of its tower; what it keeps is trained for a pass more, and frozen. The next task reads all of the
tower and trains the freed weights alone, and so on. The last task is not pruned.

Source: CSMF (Deng et al., SIGIR 2025, arXiv 2504.12920), after its abstract and public summaries;
no code of it was found. PackNet (Mallya and Lazebnik, CVPR 2018) is the same for images. CSMF is
made for retrieval by embeddings; here it is a ranking model. What differs, and what is
decided:

- **The cascade** is that of the tasks, a task after the one that predicts its population (CVR after
  CTR), otherwise in the schema's order. Exposure, CSMF's first objective, has no rows without one.
- **Tables, cross layer and attention** are the first task's. Were they trained further, its
  predictions would change. A bias is frozen once a task that is done reads its unit.
- **Freed weights** go on from where they are, as in fine-tuning, not from theta_0 or 0.
- **Recovery** trains what is kept of the tower, and the head, for `RECOVERY_EPOCHS`. Tables stay:
  passes beyond the best one learn rare ids by heart.
- **The adaptive margin loss** weighs negatives of retrieval's softmax. Here each row has its own
  label and there is no such softmax, so it is left out.
- **Eq. 2** has no part: each task trains alone, with weight 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config import checks
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.kept_weights import check_unchanged, own_variables
from lt4rec_tf.experiment.paths import CASCADE, RECOVERY, TRAINING, model_folder, model_masks
from lt4rec_tf.experiment.run import Run, load_start, network_in, plan_of, task_trainer
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.cumulative import prune_by_cumulative_magnitude
from lt4rec_tf.tickets.free_weights import free_weights
from lt4rec_tf.tickets.masks import Masks, read_masks, write_masks
from lt4rec_tf.tickets.search import WEIGHTS, read_result
from lt4rec_tf.training.stage import finish

MODEL = "csmf"
RECOVERY_EPOCHS = 1


def train_model(run: Run) -> None:
    """Trains the tasks one after another; what an earlier process finished is skipped."""
    folder = model_folder(run.folder, MODEL)
    if artifacts.is_done(folder / TRAINING):
        epochs = _all_epochs(run.settings, len(run.tasks))
        run.progress.skip(epochs * run.feed.steps_per_epoch)
    else:
        network = network_in(run, MODEL)
        load_start(run, network)
        order = cascade(run.schema)
        for place, task in enumerate(order):
            _train_task(run, network, folder, order[:place], task)
            if place + 1 < len(order):
                _recover(run, network, folder, order[:place], task)
        _keep_result(run, network, folder, order)
    _forget_weights(folder, run.tasks)


def cascade(schema: Schema) -> list[str]:
    """Returns the tasks in the order in which they are trained.

    Those on all impressions come first, then those on a label that these predict, and so on.

    Args:
        schema: With the run's tasks.
    """
    population_of = {task.label: task.population for task in schema.tasks}

    def depth(population: str | None) -> int:
        return 0 if population is None else 1 + depth(population_of.get(population))

    tasks = sorted(schema.tasks, key=lambda task: depth(task.population))
    return [task.name for task in tasks]


def pending_epochs(settings: Settings, folder: Path, tasks: Sequence[str]) -> int:
    """Returns the epochs that the stages may still take.

    Args:
        settings: The run's.
        folder: RUN.
        tasks: Of the run.
    """
    own = model_folder(folder, MODEL)
    if artifacts.is_done(own / TRAINING):
        return 0
    trained = sum(artifacts.is_done(_stage(own, task)) for task in tasks)
    recovered = sum(artifacts.is_done(_stage(own, task, RECOVERY)) for task in tasks)
    done = trained * settings.training.epochs + recovered * RECOVERY_EPOCHS
    return _all_epochs(settings, len(tasks)) - done


def _all_epochs(settings: Settings, tasks: int) -> int:
    return tasks * settings.training.epochs + (tasks - 1) * RECOVERY_EPOCHS


def _stage(folder: Path, task: str, stage: str = TRAINING) -> Path:
    """Returns the folder of a task's training, or of its recovery."""
    return folder / CASCADE / task / stage


def _train_task(
    run: Run, network: RankingNetwork, folder: Path, done: Sequence[str], task: str
) -> None:
    """Trains a task in the whole tower, of which it may change what no task before it wears.

    Args:
        run: The run.
        network: With the weights and masks that the task before left.
        folder: The model's.
        done: The tasks before, in order.
        task: The task.
    """
    changeable = _changeable(network, done, task) if done else None
    trainer = task_trainer(run, network, task, changeable=changeable)
    plan = plan_of(run, run.settings.training.epochs)
    trainer.fit(_stage(folder, task), f"{MODEL}/{task}", plan)
    if changeable is not None:
        before = _stage(folder, done[-1], RECOVERY) / WEIGHTS
        check_unchanged(network.variables, before, _stage(folder, task) / WEIGHTS, changeable)


def _recover(
    run: Run, network: RankingNetwork, folder: Path, done: Sequence[str], task: str
) -> None:
    """Prunes what a task trained of the tower, and trains what is kept of it once more.

    Args:
        run: The run.
        network: As `_train_task` leaves it, whose arguments the others are.
        folder: The model's.
        done: The tasks before, in order.
        task: The task.
    """
    changeable = _changeable(network, done, task)
    path, shapes = model_masks(folder, task), network.kernel_shapes(task)
    if not path.exists():
        write_masks(path, _pruned(network, task, changeable, run.settings.tickets.cascade_pruned))
    network.wear(task, read_masks(path, shapes))

    trainer = task_trainer(run, network, task, changeable=changeable)
    plan = dataclasses.replace(plan_of(run, RECOVERY_EPOCHS), rewind_tables=0)
    trainer.fit(_stage(folder, task, RECOVERY), f"{MODEL}/{task}/{RECOVERY}", plan)


def _pruned(
    network: RankingNetwork, task: str, changeable: Mapping[str, np.ndarray], share: float
) -> Masks:
    """Returns a task's mask: what tasks before it wear, and the larger of what was free for it."""
    kernels = {name: kernel.numpy() for name, kernel in network.kernels(task).items()}
    free = {
        name: np.broadcast_to(changeable[f"{name}/kernel"], kernel.shape)
        for name, kernel in kernels.items()
    }
    kept = prune_by_cumulative_magnitude(kernels, free, share)
    return {name: kept[name] | ~free[name] for name in kept}


def _changeable(network: RankingNetwork, done: Sequence[str], task: str) -> dict[str, np.ndarray]:
    """Returns where a task may change the tower and what is its own; tables stay.

    Args:
        network: It wears the masks of the tasks before.
        done: The tasks before; none: the whole tower is free.
        task: The task.
    """
    if done:
        free = free_weights([network.masks(other) for other in done])
    else:
        tower = [name for name in network.variables if name.startswith("tower_")]
        free = {name: np.array(True) for name in tower}
    return free | own_variables(network, [task])


def _keep_result(run: Run, network: RankingNetwork, folder: Path, order: Sequence[str]) -> None:
    """Leaves the last task's weights as the model's, with what all stages found.

    Each task's validation is that of its last stage, after which nothing that it reads moved.

    Args:
        run: The run.
        network: Trained to the end.
        folder: The model's.
        order: The tasks, as they were trained.
    """
    last = order[-1]
    write_masks(model_masks(folder, last), network.masks(last))  # nothing is cut of it
    artifacts.copy_folder(_stage(folder, last) / WEIGHTS, folder / TRAINING / WEIGHTS)
    finish(folder / TRAINING, _result(run, folder, order))


def _result(run: Run, folder: Path, order: Sequence[str]) -> dict[str, Any]:
    """Returns the result of a stage, with one epoch in place of all stages' passes."""
    ends = [_stage(folder, task, RECOVERY) for task in order[:-1]] + [_stage(folder, order[-1])]
    results = [read_result(stage) for stage in ends]
    stages = [_stage(folder, task) for task in order[:-1]] + ends
    record: dict[str, Any] = {"epoch": 0, "train_loss": {}, "validation_loss": {}, "validation": {}}
    nothing: dict[str, Any] = {}
    for result in results:
        record["validation"] |= result["validation"]
        record["validation_loss"] |= result["validation_loss"]
        record["train_loss"] |= result["history"][result["best_epoch"]]["train_loss"]
        nothing |= result.get("nothing_learned", {})

    losses = record["validation_loss"]
    weights = checks.loss_weights(run.settings, run.tasks)
    score = -sum(weights[task] * loss for task, loss in losses.items()) if losses else 0.0
    return {
        "best_epoch": 0,
        "validation": record["validation"],
        "validation_loss": losses,
        "seconds": sum(read_result(stage)["seconds"] for stage in stages),
        "history": [record | {"score": score}],
        "nothing_learned": nothing,
    }


def _forget_weights(folder: Path, tasks: Sequence[str]) -> None:
    """Removes the stages' weights, which the model's own have all of."""
    for task in tasks:
        for stage in (TRAINING, RECOVERY):
            artifacts.remove(_stage(folder, task, stage) / WEIGHTS)
