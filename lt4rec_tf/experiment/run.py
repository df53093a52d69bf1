"""A run as its stages share it: settings, logs, networks, starting weights, trainers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf.config import checks
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError, from_settings
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.distributed.replicas import parts_of
from lt4rec_tf.experiment.paths import TABLE_MASKS, TABLES, TRAINING, WARMUP, WIDTHS, theta_0_of
from lt4rec_tf.models.lt4rec import shared_name
from lt4rec_tf.models.network import TRANSFER, RankingNetwork
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket, of_dims, read_ticket
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training import checkpoint, precision
from lt4rec_tf.training.balancing.core_task import Core
from lt4rec_tf.training.conflict import Conflict
from lt4rec_tf.training.plan import Callbacks, Feed, LogScalars, Objective, Optimization, Plan
from lt4rec_tf.training.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """A run as its stages share it.

    Attributes:
        settings: All flags.
        schema: Its tasks are those of the run, in order.
        folder: RUN, with the models.
        searches: Folder of theta_0 and the ticket searches: RUN, unless several runs share them.
        feed: The logs.
        progress: Told of every step.
        log: Told of losses and metrics.
    """

    settings: Settings
    schema: Schema
    folder: Path
    searches: Path
    feed: Feed
    progress: Progress
    log: LogScalars

    @property
    def tasks(self) -> tuple[str, ...]:
        """Returns the run's tasks, in order."""
        return tuple(task.name for task in self.schema.tasks)


def given_tables(settings: Settings, schema: Schema) -> TableTicket | None:
    """Returns the ticket of the embedding tables that --table_dims gives; None: none is given."""
    dims = checks.table_dims(settings, schema.table_rows)
    return of_dims(dims, schema.table_rows, settings.model.embedding_dim) if dims else None


def table_ticket(searches: Path, settings: Settings, schema: Schema) -> TableTicket | None:
    """Returns the ticket of a run's embedding tables, found or given; None: they are whole.

    Args:
        searches: Folder of the run's searches.
        settings: The run's.
        schema: The run's.

    Raises:
        MaskError: The ticket is absent or damaged.
    """
    if settings.tickets.embedding_density == 1:
        return given_tables(settings, schema)
    path, unit = searches / TABLES / TABLE_MASKS, settings.tickets.embedding_unit
    return read_ticket(path, unit, schema.table_rows, settings.model.embedding_dim)


def network_in(
    run: Run,
    model: str,
    *,
    schema: Schema | None = None,
    seed: int | None = None,
) -> RankingNetwork:
    """Builds a model's network with the tables that the run's ticket keeps; see `network_of`."""
    tables = table_ticket(run.searches, run.settings, run.schema)
    return network_of(run.settings, schema or run.schema, model, seed=seed, tables=tables)


def theta_0(run: Run) -> Path:
    """Returns the folder of theta_0, with the tables that the run's ticket keeps."""
    return theta_0_of(run.searches, run.settings)


def load_start(run: Run, network: RankingNetwork) -> None:
    """Sets the weights that stages start from: theta_0, or what the warm-up made of it."""
    warm = run.searches / WARMUP / TRAINING / WEIGHTS
    start = warm if run.settings.tickets.warmup_epochs else theta_0(run)

    # Separate towers start from the shared tower's weights: models differ by sharing alone.
    renames = {name: shared_name(name, network.tasks) for name in network.variables}
    # Of HTLNet's transfer layers theta_0 has nothing: they keep the draw of their own network.
    variables = {n: v for n, v in network.variables.items() if not n.startswith(TRANSFER)}
    checkpoint.restore(start, variables, renames)


def draw_afresh(run: Run, network: RankingNetwork, purpose: str) -> None:
    """Sets a draw that differs from theta_0, and between purposes."""
    seed = zlib.crc32(f"{run.settings.seed}/{purpose}".encode())
    other = network_in(run, "s_weight", seed=seed)
    for name, variable in network.variables.items():
        if name.startswith(TRANSFER):
            continue
        drawn = parts_of(other.variables[shared_name(name, network.tasks)])
        for part, values in zip(parts_of(variable), drawn, strict=True):
            part.assign(values)


def task_trainer(
    run: Run,
    network: RankingNetwork,
    task: str,
    before_step: Callable[[int], None] = lambda step: None,
    *,
    changeable: Mapping[str, np.ndarray] | None = None,
) -> Trainer:
    """Makes a trainer of one task alone, for a search or a cascade.

    Args:
        run: The run.
        network: Of this task, or of several.
        task: The task.
        before_step: See `Callbacks`.
        changeable: See `Objective`.
    """
    # Eq. 2 weighs tasks against each other: alone, a task's weight would only rescale its loss.
    training = run.settings.training
    objective = Objective(
        (task,),
        training.task_schedule,
        {task: 1.0},
        label_smoothing=training.label_smoothing,
        changeable=changeable,
    )
    return _trainer(run, network, objective, before_step)


def joint_trainer(
    run: Run,
    network: RankingNetwork,
    absent: Collection[str] = (),
    *,
    tasks: tuple[str, ...] = (),
    changeable: Mapping[str, np.ndarray] | None = None,
    before_step: Callable[[int], None] = lambda step: None,
) -> Trainer:
    """Makes a trainer of tasks of a network together.

    Args:
        run: The run.
        network: Of several tasks.
        absent: Of them, those that have no row in the logs; they are not trained.
        tasks: Those that are trained; none: all.
        changeable: See `Objective`.
        before_step: See `Callbacks`.

    Raises:
        ConfigError: The rule that balances tasks does not fit this network or these tasks.
    """
    training = run.settings.training
    conflict = from_settings(Conflict, training, prefix="conflict_")
    core = from_settings(Core, training, prefix="core_")
    objective = Objective(
        tasks or network.tasks,
        training.task_schedule,
        checks.loss_weights(run.settings, run.tasks),
        training.balance,
        core,
        conflict if training.gradient_conflict else None,
        training.label_smoothing,
        tuple(task for task in network.tasks if task in absent),
        changeable,
    )

    try:
        return _trainer(run, network, objective, before_step)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _trainer(
    run: Run,
    network: RankingNetwork,
    objective: Objective,
    before_step: Callable[[int], None] = lambda step: None,
) -> Trainer:
    training = run.settings.training
    optimization = from_settings(
        Optimization,
        training,
        precision=precision.settled(training.precision, run.searches),
        seed=run.settings.seed,
    )
    callbacks = Callbacks(run.progress, run.log, before_step)
    return Trainer(network, run.schema, objective, optimization, run.feed, callbacks)


def plan_of(run: Run, epochs: int) -> Plan:
    """Returns how a stage of so many epochs is trained."""
    training = run.settings.training
    # A part of a pass, which a parameter server's worker takes at once, counts as one step.
    pauses = -(-training.checkpoint_steps // run.feed.batches_per_step)
    return Plan(epochs, training.patience, pauses, rewind_tables=training.rewind_tables)


def model_network(
    folder: Path, model: str, settings: Settings, schema: Schema, tables: TableTicket | None
) -> RankingNetwork:
    """Builds a model's network; widths that settings do not say are read from its folder.

    Args:
        folder: The model's.
        model: One of `registry.MODELS`.
        settings: The run's.
        schema: With the model's tasks.
        tables: Ticket of the embedding tables; None: they are whole.
    """
    widths = _read_widths(folder / WIDTHS, settings) if model == "small_dense" else ()
    return network_of(settings, schema, model, hidden_units=widths, tables=tables)


def _read_widths(path: Path, settings: Settings) -> Sequence[int]:
    widths: list[int] = read_typed(path, list[int])
    most = settings.model.hidden_units
    if len(widths) != len(most) or not all(1 <= w <= m for w, m in zip(widths, most, strict=True)):
        raise artifacts.RunError(f"{path}: found widths {widths}, expected 1 to {list(most)}")
    return widths
