"""Models of a comparison, read from a TOML file, each with its candidate settings.

A model of a comparison is one of train's models with flags of its own, so whatever `train` can do
can be compared:

    [[models]]
    name = "s_neuron"
    group = "Table 2 of LT4REC"
    model = "s_weight"
    flags = ["--pruned_unit=neuron"]
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lt4rec_tf.config.settings import DailySettings, Settings
from lt4rec_tf.core.flags import SEEDS, ConfigError, check_fields, expect, flag
from lt4rec_tf.core.processes import Failure
from lt4rec_tf.core.toml import TomlTable, read_toml
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.schema.types import Schema


@dataclass(frozen=True)
class CompareFlags:
    """The comparison, beyond the settings of each of its runs."""

    models_file: str = flag(
        "configs/compare/models.toml", "TOML file of the models.", main=True, alias="rows_file"
    )
    only: tuple[str, ...] = flag(
        (), "Names of the models to compare; none: all of the file.", main=True
    )
    seeds: tuple[int, ...] = flag((1, 2, 3, 4, 5), "A run for each.", main=True, **SEEDS)
    tuning_seeds: int = flag(
        1,
        "How many of the seeds tune, from the first on: candidates are trained with each, and the "
        "mean score chooses. More where validation is small.",
        at_least=1,
        main=True,
    )
    learning_rates: tuple[str, ...] = flag(
        (), "Candidates of every model, chosen on validation; none: --learning_rate.", main=True
    )
    cvr_weights: tuple[str, ...] = flag(
        (), "Candidates of every joint model for Eq. 2's b, the weight of the task --weighted_task."
    )
    weighted_task: str = flag("cvr", "Task whose weight in Eq. 2 is tuned.")
    tune_trials: int = flag(
        0,
        "Trials of every model in place of a grid: drawn step sizes, weights, dropout and "
        "densities, all trained for one pass, the best for longer (docs/compare.md); 0: the grid.",
        at_least=0,
    )
    tune_space: str = flag("", "--tune_trials: TOML file of the flags to tune and their values.")
    tune_sampler: Literal["random", "tpe"] = flag(
        "random",
        "--tune_trials: how values are drawn; tpe: later trials by Optuna, from what earlier ones "
        "scored (pip install 'lt4rec_tf[tune]').",
    )
    against: str = flag(
        "s_weight", "Model to which the report's second table takes all differences."
    )
    jobs: int = flag(0, "Processes side by side; 0: one a core.", at_least=0, main=True)
    threads: int = flag(
        1, "Threads of a process; they decide the last digits of a result.", at_least=1
    )
    replicates: int = flag(1000, "Bootstrap replicates of an interval.", at_least=1)
    published_file: str = flag(
        "", "TOML file of published numbers, which the report shows beside its own."
    )
    published_only: bool = flag(
        False, "--published_file: print the published numbers alone; no logs are read."
    )


@dataclass(frozen=True)
class ModelSpec:
    """One line of the comparison.

    Attributes:
        name: Of the line, also of its folder.
        group: Heading above it.
        model: Its name in --models of `train`.
        task: The task of a single-task model; empty for all others.
        flags: Flags of `train` that it is trained with.
        weights: Candidates for the tuned weight in place of --cvr_weights; None: those.
        note: A line about it.
    """

    name: str
    group: str
    model: str
    task: str
    flags: tuple[str, ...]
    weights: tuple[str, ...] | None
    note: str


@dataclass(frozen=True)
class Candidate:
    """One way to train a model.

    Attributes:
        settings: All flags, seed aside.
        chosen: Tuned settings: name -> value, as reports show it.
        passes: Over train at most, where fewer than the settings say; 0: as these say.
        trial: Its number among the model's trials; None: it is of a grid.
        values: Of a trial: what was drawn, by name in the space.
    """

    settings: Settings
    chosen: dict[str, str]
    passes: int = 0
    trial: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    def with_seed(self, seed: int) -> Settings:
        """Returns the settings of one run."""
        settings = dataclasses.replace(self.settings, seed=seed)
        if not self.passes:
            return settings
        training = settings.training
        # Searches of 0 passes take as many as models.
        training = dataclasses.replace(
            training,
            epochs=min(training.epochs or self.passes, self.passes),
            search_epochs=min(training.search_epochs, self.passes),
        )
        return dataclasses.replace(settings, training=training)


@dataclass
class Comparison:
    """A comparison and its state.

    Attributes:
        folder: Folder of all its runs.
        schema: The tasks.
        flags: Its own flags.
        specs: Its lines.
        grid: Line -> its candidates.
        failures: Line -> seed -> why there is no result.
        chosen: Line -> the candidate that validation chose; None where all failed.
        scores: Line -> each candidate's settings and score, for the report.
    """

    folder: Path
    schema: Schema
    flags: CompareFlags
    specs: list[ModelSpec]
    grid: dict[str, list[Candidate]]
    failures: dict[str, dict[int, Failure]] = field(default_factory=dict)
    chosen: dict[str, Candidate | None] = field(default_factory=dict)
    scores: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """Returns the seeds that candidates are trained with."""
        return self.flags.seeds[: self.flags.tuning_seeds]


def check_flags(flags: CompareFlags, tasks: Sequence[str]) -> None:
    """Refuses flags that no comparison can have.

    Args:
        flags: Of the comparison.
        tasks: Its tasks.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    if not flags.seeds or len(set(flags.seeds)) < len(flags.seeds):
        raise ConfigError(f"--seeds: found {flags.seeds}, expected distinct numbers, one or more")
    check_fields(flags)
    if flags.published_only:
        expected = "a TOML file with --published_only"
        expect(bool(flags.published_file), "published_file", flags.published_file, expected)
    few = flags.tuning_seeds <= len(flags.seeds)
    expect(few, "tuning_seeds", flags.tuning_seeds, f"at most the {len(flags.seeds)} of --seeds")
    if not flags.tune_trials:
        for name in ("tune_space", "tune_sampler"):
            found, default = getattr(flags, name), getattr(CompareFlags, name)
            expect(found == default, name, found, "--tune_trials beside it")
    elif not flags.tune_space:
        task = flags.weighted_task
        expect(task in tasks, "weighted_task", task, f"one of {', '.join(tasks)} for --tune_trials")


def check_run_settings(settings: Settings) -> None:
    """Refuses settings of a run that a comparison cannot have.

    Trainings are parallel jobs on one machine, which start from nothing. What networks predict is
    measured, without calibration.

    Raises:
        ConfigError: Naming the flag.
    """
    if settings.daily != DailySettings():
        raise ConfigError(
            f"--warm_start, --masks: found {settings.daily}, expected neither in a comparison"
        )
    kind = settings.training.distribution
    if kind != "none":
        raise ConfigError(f"--distribution: found {kind}, expected none in a comparison")
    maps = settings.training.calibration
    if maps:
        raise ConfigError(f"--calibration: found {','.join(maps)}, expected none in a comparison")


def read_models(path: Path, only: Sequence[str], tasks: Sequence[str]) -> list[ModelSpec]:
    """Reads the models of a comparison; `base` becomes one line for each task.

    Args:
        path: TOML file with a list `models`.
        only: Names to keep; none: all.
        tasks: The comparison's.

    Raises:
        TomlError: The file is absent, or a key or value cannot be used.
        ConfigError: `only` names a model that the file lacks, a name stands twice, or there is
            no model of single tasks.
    """
    file = read_toml(path)
    specs = [_read_model(table) for table in file.tables(file.renamed("models", "rows"))]
    file.close()

    names = [spec.name for spec in specs]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigError(f"--only: found {unknown}, expected models of {path}: {', '.join(names)}")
    chosen = [spec for spec in specs if not only or spec.name in only]

    if all(spec.model != "base" for spec in chosen):
        raise ConfigError(
            f"{path}: found none of model 'base' among the models to compare, expected one or "
            "more: all differences are to the first of them"
        )

    lines: list[ModelSpec] = []
    for spec in chosen:
        lines += _lines(spec, tasks)

    counts = Counter(line.name for line in lines)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: found {twice} more than once, expected distinct names")
    return lines


def _read_model(table: TomlTable) -> ModelSpec:
    spec = ModelSpec(
        name=table.text("name"),
        group=table.text("group"),
        model=table.choice(table.renamed("model", "row"), tuple(MODELS)),
        task="",
        flags=table.texts("flags", ()),
        weights=table.texts("weights") if table.has("weights") else None,
        note=table.text("note", "", empty=True),
    )
    if "/" in spec.name or spec.name.startswith("."):
        raise table.error("name", spec.name, "a folder's name")
    table.close()
    return spec


def _lines(spec: ModelSpec, tasks: Sequence[str]) -> list[ModelSpec]:
    if spec.model != "base":
        return [spec]
    return [
        ModelSpec(f"{spec.name}_{task}", spec.group, "base", task, spec.flags, (), spec.note)
        for task in tasks
    ]


def single_lines(specs: Sequence[ModelSpec]) -> dict[str, str]:
    """Returns task -> the line of its network alone, to which others are compared: the first."""
    lines: dict[str, str] = {}
    for spec in specs:
        if spec.task:
            lines.setdefault(spec.task, spec.name)
    return lines


def candidates(
    spec: ModelSpec, compare: CompareFlags, parse: Callable[[Sequence[str]], Settings]
) -> list[Candidate]:
    """Returns a model's candidates: every pair of a learning rate and a weight.

    Args:
        spec: The model.
        compare: Holds the grid.
        parse: More flags -> settings, after those of the command.
    """
    weights = compare.cvr_weights if spec.weights is None else spec.weights
    pairs = []
    for rate, weight in itertools.product(compare.learning_rates or [""], weights or [""]):
        flags = [f"--models={spec.model}", *spec.flags]
        if rate:
            flags.append(f"--learning_rate={rate}")
        if weight:
            flags.append(f"--loss_weights={compare.weighted_task}={weight}")

        settings = parse(flags)
        pairs.append(Candidate(settings, shown_settings(spec, settings)))
    return pairs


def shown_settings(spec: ModelSpec, settings: Settings) -> dict[str, str]:
    """Returns a model's step size and, of a joint model, weights, as reports show them."""
    shown = {"learning_rate": f"{settings.training.learning_rate:g}"}
    if spec.model != "base":
        shown["loss_weights"] = ",".join(settings.training.loss_weights) or "1"
    return shown
