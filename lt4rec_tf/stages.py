"""The stages of a run, in the order in which they happen.

Each is skipped where an earlier process finished it. What they need in common is a `Run`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf import config, runs
from lt4rec_tf.config import Settings
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.ranking import build_network, shared_name
from lt4rec_tf.schema import Schema, Task
from lt4rec_tf.tickets import masks as masks_file
from lt4rec_tf.tickets import search
from lt4rec_tf.tickets.gradual import build_gradual
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.tickets.search import Level
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.progress import Progress
from lt4rec_tf.training.trainer import Feed, LogScalars, Plan, Trainer

SEARCH = "search.json"


@dataclass(frozen=True)
class Run:
    """What every stage of a run works with.

    Attributes:
        settings: All flags.
        schema: Its tasks are those of the run, in order.
        folder: RUN, where all artifacts lie.
        feed: The logs.
        progress: Told of every step.
        log: Told of losses and metrics.
    """

    settings: Settings
    schema: Schema
    folder: Path
    feed: Feed
    progress: Progress
    log: LogScalars

    @property
    def tasks(self) -> tuple[str, ...]:
        """The run's tasks, in order."""
        return tuple(task.name for task in self.schema.tasks)


@dataclass(frozen=True)
class Ticket:
    """A task's search and what was chosen from it."""

    task: str
    levels: list[Level]
    chosen: Level
    masks: Masks

    @property
    def seconds(self) -> float:
        """Training time of the whole search."""
        return sum(level.seconds for level in self.levels)


def network_of(
    settings: Settings, schema: Schema, *, separate_towers: bool, seed: int | None = None
) -> RankingNetwork:
    """Builds the run's network for the schema's tasks, at theta_0 or at another seed's draw."""
    model = settings.model
    return build_network(
        schema,
        separate_towers=separate_towers,
        embedding_dim=model.embedding_dim,
        embedding_stddev=model.embedding_stddev,
        cross=model.cross,
        dcn_layers=model.dcn_layers,
        hidden_units=model.hidden_units,
        seed=settings.seed if seed is None else seed,
    )


def keep_initial(run: Run, network: RankingNetwork) -> None:
    """Saves theta_0, which every stage starts from."""
    if not runs.is_done(run.folder / "initial"):
        checkpoint.save(run.folder / "initial", network.variables)
        runs.mark_done(run.folder / "initial")


def find_ticket(run: Run, network: RankingNetwork, task: str) -> Ticket:
    """Searches and chooses a task's ticket (Algorithm 1, or one gradual training)."""
    tickets, folder = run.settings.tickets, run.folder / "tickets" / task
    rounds = search_rounds(run.settings)
    gradual = tickets.ticket_finder == "gradual"
    trainer = _trainer(run, network, [task])
    plan = _plan(run, run.settings.training.search_epochs)
    dense_plan = dataclasses.replace(plan, snapshot_step=tickets.rewind_step if rounds else 0)

    def train(level: int, stage: Path) -> None:
        name = f"tickets/{task}/level_{level}"
        trainer.fit(stage, name, dense_plan if level == 0 else plan)

    schema_task = run.schema.task(task)

    def value(result: dict[str, Any]) -> float:
        return result["validation"][task][schema_task.metric]

    levels = search.find_tickets(
        network,
        task,
        folder,
        rounds=0 if gradual else rounds,
        final_density=tickets.final_density,
        rewind=_rewind(run, network, task),
        train=train,
        value=value,
    )
    if gradual and rounds:
        _gradual_level(run, task, search.level_folder(folder, 1))
        levels = search.read_levels(folder, 1, network.kernel_shapes(task), value)
    chosen = levels[0]
    if rounds:
        rule, tolerance = tickets.ticket_choice, tickets.choice_tolerance
        chosen = search.choose_level(levels, schema_task.direction, rule, tolerance)
        _keep_search(folder, schema_task, levels, chosen)
    return Ticket(task, levels, chosen, read_masks(network, task, chosen.folder / search.MASKS))


def _keep_search(folder: Path, task: Task, levels: list[Level], chosen: Level) -> None:
    kept = {
        "metric": task.metric,
        "direction": task.direction,
        "densities": [level.density for level in levels],
        "values": [level.value for level in levels],
        "chosen": chosen.level,
    }
    runs.write_json(folder / SEARCH, kept)


def train_row(
    run: Run, row: str, network: RankingNetwork, tickets: Sequence[Ticket] = ()
) -> dict[str, Any]:
    """Trains all tasks of a network together: Algorithm 1's second half, or hard sharing.

    Args:
        run: The run.
        row: The row's name, which names its folder.
        network: With shared towers if there are tickets.
        tickets: Worn while training; kept beside the weights.

    Returns:
        The stage's result.
    """
    folder = run.folder / "rows" / row
    for ticket in tickets:
        masks_path = row_masks(folder, ticket.task)
        if not masks_path.exists():
            masks_file.write_masks(masks_path, ticket.masks)
        network.wear(ticket.task, ticket.masks)
    _load_initial(run, network)
    trainer = _trainer(run, network, network.tasks)
    return trainer.fit(folder / search.TRAINING, row, _plan(run, run.settings.training.epochs))


def level_masks(ticket: Ticket) -> list[Masks]:
    """The masks of every level of a search."""
    shapes = {name: mask.shape for name, mask in ticket.masks.items()}
    return [masks_file.read_masks(level.folder / search.MASKS, shapes) for level in ticket.levels]


def row_masks(row_folder: Path, task: str) -> Path:
    """Where a row's masks for a task lie."""
    return row_folder / "masks" / f"{task}.npz"


def read_masks(network: RankingNetwork, task: str, path: Path) -> Masks:
    """Reads masks that fit a task's kernels."""
    return masks_file.read_masks(path, network.kernel_shapes(task))


def search_rounds(settings: Settings) -> int:
    """Prunings of a search; none where no row wears tickets."""
    return settings.tickets.rounds if "s_weight" in settings.rows else 0


def steps_to_come(settings: Settings, tasks: Sequence[str], folder: Path, feed: Feed) -> int:
    """Training steps of the stages that are not finished, for the time left."""
    training, steps = settings.training, feed.steps_per_epoch
    rounds = search_rounds(settings)
    last = min(rounds, 1) if settings.tickets.ticket_finder == "gradual" else rounds
    total = 0
    if {"base", "s_weight"} & set(settings.rows):
        searches = [folder / "tickets" / task for task in tasks]
        levels = [search.level_folder(s, level) for s in searches for level in range(last + 1)]
        total += sum(not runs.is_done(level) for level in levels) * training.search_epochs * steps
    for row in {"hard_sharing", "s_weight"} & set(settings.rows):
        if not runs.is_done(folder / "rows" / row / search.TRAINING):
            total += training.epochs * steps
    return total


def _rewind(run: Run, network: RankingNetwork, task: str) -> Callable[[int], None]:
    tickets = run.settings.tickets
    steps = run.settings.training.search_epochs * run.feed.steps_per_epoch
    if tickets.rewind == "step" and tickets.rewind_step > steps:
        raise config.ConfigError(
            f"--rewind_step: found {tickets.rewind_step}, expected at most {steps}, "
            "the steps of the dense training"
        )

    def rewind(level: int) -> None:
        if level == 0 or tickets.rewind == "initial":
            _load_initial(run, network)
        elif tickets.rewind == "step":
            dense = search.level_folder(run.folder / "tickets" / task, 0)
            checkpoint.restore(dense / search.TRAINING / "rewind", network.variables)
        else:
            _draw_afresh(run, network, f"{task}/level_{level}")

    return rewind


def _load_initial(run: Run, network: RankingNetwork) -> None:
    # Separate towers start from what the shared tower starts from: rows differ by sharing alone.
    renames = {name: shared_name(name, network.tasks) for name in network.variables}
    checkpoint.restore(run.folder / "initial", network.variables, renames)


def _draw_afresh(run: Run, network: RankingNetwork, purpose: str) -> None:
    seed = zlib.crc32(f"{run.settings.seed}/{purpose}".encode())
    other = network_of(run.settings, run.schema, separate_towers=False, seed=seed)
    for name, variable in network.variables.items():
        variable.assign(other.variables[name])


def _gradual_level(run: Run, task: str, here: Path) -> None:
    if runs.is_done(here):
        return
    settings = run.settings
    alone = run.schema.with_tasks([task])
    dense = network_of(settings, alone, separate_towers=False)
    _load_initial(run, dense)
    epochs = settings.training.search_epochs
    steps = epochs * run.feed.steps_per_epoch
    pruned = build_gradual(
        dense, settings.tickets.final_density, steps, settings.tickets.block_width
    )
    trainer = _trainer(run, pruned.network, [task], before_step=pruned.before_step)
    plan = Plan(epochs, 0, settings.training.checkpoint_steps, keep_last=True)
    trainer.fit(here / search.TRAINING, f"tickets/{task}/level_1", plan)
    masks_file.write_masks(here / search.MASKS, pruned.masks())
    runs.mark_done(here)


def _trainer(
    run: Run,
    network: RankingNetwork,
    tasks: Sequence[str],
    before_step: Callable[[int], None] | None = None,
) -> Trainer:
    training = run.settings.training
    # Eq. 2 weighs tasks against each other: alone, a task's weight would only rescale its loss.
    alone = len(tasks) == 1
    weights = dict.fromkeys(tasks, 1.0) if alone else config.loss_weights(run.settings, run.tasks)
    return Trainer(
        network,
        run.schema,
        tasks,
        schedule=training.task_schedule,
        loss_weights=weights,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        feed=run.feed,
        progress=run.progress,
        log=run.log,
        before_step=before_step,
    )


def _plan(run: Run, epochs: int) -> Plan:
    training = run.settings.training
    return Plan(epochs, training.patience, training.checkpoint_steps)
