"""Files and folders of a run and of a comparison, each named once.

    RUN = runs/<name>-<fingerprint>/seed_<n>/
      config.json schema.toml data.json quarantine.tsv statistics.json evaluation.json
      initial/                              theta_0
      tables/level_<k>/ ticket.npz start/   the search for a ticket of the embedding tables
      warmup/training/                      --warmup_epochs
      tickets/<task>/level_<k>/             a search: masks.npz, training/; search.json
      rows/<model>/                         masks/<task>.npz, training/
      rows/s_joint/                         joint_search.json, levels/level_<k>/ beside them
      rows/s_gates/                         gates/training/ beside them
      rows/csmf/                            cascade/<task>/training/, recovery/ beside them
      rows/<model>/                         --add_to: added_tasks.json, added/level_<k>/ beside them
      calibration/<model>.json              --calibration
      saved_model/<version>/ tensorboard/ logs/

    COMPARISON = runs/<name>-<fingerprint>/
      searches/<fingerprint>/seed_<n>/      theta_0 and searches, shared by models that agree
      rows/<model>/<fingerprint>/seed_<n>/  a RUN; beside its files test/<model>.json, <model>.npz
      test_labels.npz report/

A run's searches lie in its own folder, unless several runs share them (`searches_of`).
`training.plan` names what lies in a stage's folder, `training/`.
WORKSPACE.md lists who writes what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lt4rec_tf.config import parse
from lt4rec_tf.config.settings import Places, Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.tickets import search

# Of RUN, written before training.
CONFIG, SCHEMA, AUDIT = "config.json", "schema.toml", "data.json"
QUARANTINE = "quarantine.tsv"
STATISTICS = "statistics.json"
VOCABULARIES, NUMBERS = "vocabularies", "numbers.json"
LABEL_QUANTILES = "label_quantiles.json"
SEARCHES = "searches.json"  # where the searches lie, if not in RUN

# Of RUN, written by training and after it.
INITIAL, TABLES, WARMUP = "initial", "tables", "warmup"
# Models were once called rows. Folders and keys of JSON keep the word, so that runs are still read.
TICKETS, ROWS = "tickets", "rows"
EVALUATION = "evaluation.json"
CALIBRATION = "calibration"  # its models' maps
CALIBRATION_FILE = "calibration.json"  # of a version
TENSORBOARD, SAVED_MODEL, LOGS = "tensorboard", "saved_model", "logs"

# Of a search, a model or a level.
TRAINING = search.TRAINING
MASK_FOLDER = "masks"
TABLE_MASKS, TABLE_START = "ticket.npz", "start"  # of the search of tables
SEARCH = "search.json"
WIDTHS = "hidden_units.json"  # of small_dense
CHOICE = "choice.json"  # of s_weight_auto
LEVELS, JOINT = "levels", "joint_search.json"  # of s_joint
CASCADE, RECOVERY = "cascade", "recovery"  # of csmf: its tasks, their trainings after pruning
GATES = "gates"  # of s_gates: its first training, in which the tickets are learned
ADDED_LEVELS, ADDED = "added", "added_tasks.json"  # of tasks that --add_to added

# Of RUN, where it continues from another run.
DAYS = "days.json"  # the entries of its chain's days, in order
EARLIER_DAYS = "history.json"  # those before this day
DAY = "day.json"  # this day's entry, before it is measured
MARGINALS = "marginals.json"  # what the day's logs hold
STANDARDS = "standards.json"  # task -> the mean and scale of the other run's amounts

# Of a run of `embedding_tickets`.
DENSE, REFIT = "dense", "refit"  # the whole table; the best two once more
TABLE = "table"  # of a training
THRESHOLD = Path("pep", "threshold")  # the training of PEP's threshold
EMBEDDING_PICTURE = "embedding_tickets.png"

# Of a comparison.
SEARCH_RUNS = "searches"  # its models lie in ROWS
TEST, TEST_LABELS = "test", "test_labels.npz"
REPORT, RESULTS, REPORT_TABLE = "report", "results.json", "table2.md"
SEARCH_PICTURE, OVERLAP_PICTURE, SIZE_PICTURE = "figure4.png", "overlap.png", "table_sizes.png"

# Of a comparison's search: its settings; how far it went.
SEARCH_SETTINGS, SEARCHED = "settings.json", "searched"

_WAY = re.compile("(shared|separate)(_[0-9]+)+")


def run_folder(settings: Settings, places: Places) -> Path:
    """Returns the folder of a run with these settings."""
    schema_text = Path(settings.data.schema).read_text(encoding="utf-8")
    fingerprint = parse.fingerprint(settings, schema_text)
    return seed_folder(places, settings.name, fingerprint, settings.seed)


def seed_folder(places: Places, name: str, fingerprint: str, seed: int) -> Path:
    """Returns a run's folder: --run_dir, or one below the folder of all runs."""
    if places.run_dir:
        return Path(places.run_dir)
    return Path(places.output_dir) / f"{name}-{fingerprint}" / f"seed_{seed}"


def evaluation_file(folder: Path, split: str) -> Path:
    """Returns the file of the metrics of a run's models on a split."""
    return folder / (EVALUATION if split == "test" else f"evaluation_{split}.json")


def importance_file(folder: Path, split: str) -> Path:
    """Returns the file of the importance of a run's features on a split."""
    return folder / ("importance.json" if split == "test" else f"importance_{split}.json")


def reliability_file(folder: Path, split: str) -> Path:
    """Returns the picture of how well a run is calibrated on a split."""
    return folder / ("reliability.png" if split == "test" else f"reliability_{split}.png")


def calibration_file(folder: Path, model: str) -> Path:
    """Returns the file of a model's calibration maps.

    >>> calibration_file(Path("RUN"), "mmoe").as_posix()
    'RUN/calibration/mmoe.json'
    """
    return folder / CALIBRATION / f"{model}.json"


def has_begun(folder: Path) -> bool:
    """Tells if training has begun, which binds a run or a comparison to its audited logs."""
    return artifacts.is_done(folder / INITIAL) or (folder / SEARCH_RUNS).exists()


def searches_of(folder: Path) -> Path:
    """Returns the folder of a run's theta_0 and searches: RUN, unless several runs share them."""
    pointer = folder / SEARCHES
    if not pointer.exists():
        return folder
    name = read_typed(pointer, str)
    try:
        searches = (folder / name).resolve()
        searches.exists()
    except (OSError, ValueError) as error:
        raise artifacts.RunError(f"{pointer}: found {name!r}, expected a path ({error})") from error
    return searches


def theta_0_of(searches: Path, settings: Settings) -> Path:
    """Returns the folder of theta_0, with the tables that the run's ticket leaves."""
    whole = settings.tickets.embedding_density == 1
    return searches / INITIAL if whole else searches / TABLES / TABLE_START


class TableLevel(TypedDict):
    """A level of the search for a ticket of the embedding tables."""

    numbers: int  # kept ones, shared rows included
    density: float  # their share
    kept: dict[str, int]  # table -> units
    validation: dict[str, dict[str, float | None]]  # task -> metric -> value


class TableSearch(TypedDict):
    """What the search for a ticket of the embedding tables leaves in `SEARCH`."""

    unit: str
    levels: list[TableLevel]


def table_search(searches: Path) -> dict[str, Any] | None:
    """Reads the search for a ticket of the embedding tables; None: there was none.

    Returns:
        A `TableSearch`.

    Raises:
        RunError: The file holds something else, or that of a search with prunings is gone.
    """
    path = searches / TABLES / SEARCH
    was_there = path.exists() or search.level_folder(path.parent, 1).exists()
    return read_typed(path, TableSearch) if was_there else None


def ticket_folder(searches: Path, task: str) -> Path:
    """Returns the folder of a task's ticket search.

    >>> ticket_folder(Path("RUN"), "ctr").as_posix()
    'RUN/tickets/ctr'
    """
    return searches / TICKETS / task


def model_folder(folder: Path, model: str) -> Path:
    """Returns the folder of a model whose tasks are trained together.

    >>> model_folder(Path("RUN"), "mmoe").as_posix()
    'RUN/rows/mmoe'
    """
    return folder / ROWS / model


def model_masks(model_folder: Path, task: str) -> Path:
    """Returns the file of a model's masks for a task."""
    return model_folder / MASK_FOLDER / f"{task}.npz"


def single_task(model: str) -> str | None:
    """Returns the task of a single-task model; None of other models.

    >>> single_task("base_cvr"), single_task("mmoe")
    ('cvr', None)
    """
    return model.removeprefix("base_") if model.startswith("base_") else None


def stage_folder(folder: Path, model: str) -> Path:
    """Returns the folder of the training whose weights a model has.

    Args:
        folder: RUN.
        model: As `trained_models.model_names` has it: base_<task> for single tasks.
    """
    task = single_task(model)
    if task is not None:
        return search.level_folder(ticket_folder(searches_of(folder), task), 0) / TRAINING

    parent = model_folder(folder, model)
    if model == "s_weight_auto" and (parent / CHOICE).exists():
        parent = chosen_folder(parent)
    return parent / TRAINING


class Tried(TypedDict):
    """A way of sharing that was trained; a run that continues from another keeps the seconds."""

    name: str
    seconds: float
    separate: NotRequired[bool]
    levels: NotRequired[list[int]]
    gain: NotRequired[float | None]


class Choice(TypedDict):
    """What `sharing_search.train_auto` leaves in `CHOICE`."""

    chosen: str
    separate: NotRequired[bool]
    tried: list[Tried]


def read_choice(model_folder: Path) -> dict[str, Any]:
    """Reads which way of sharing was chosen: what `sharing_search.train_auto` returned.

    Raises:
        RunError: None is chosen yet.
    """
    path = model_folder / CHOICE
    choice: dict[str, Any] = read_typed(path, Choice)
    if not _WAY.fullmatch(choice["chosen"]):
        raise artifacts.RunError(
            f"{path}: chosen: found {choice['chosen']!r}, expected a way such as shared_0_3"
        )
    return choice


def chosen_folder(model_folder: Path) -> Path:
    """Returns the folder of the chosen way of sharing, with its masks and training.

    Raises:
        RunError: None is chosen yet.
    """
    return model_folder / read_choice(model_folder)["chosen"]


def network_model(folder: Path, model: str) -> str:
    """Returns the model whose network a saved model has.

    Args:
        folder: RUN.
        model: One of `registry.MODELS`.

    Raises:
        RunError: No way of sharing is chosen yet for s_weight_auto.
    """
    if model != "s_weight_auto":
        return model
    choice = read_choice(model_folder(folder, model))
    return sharing_model(separate=is_separate(choice))


def sharing_model(*, separate: bool) -> str:
    """Returns the model whose network a way of sharing has.

    >>> sharing_model(separate=False), sharing_model(separate=True)
    ('s_weight', 'pruned_towers')
    """
    return "pruned_towers" if separate else "s_weight"


def is_separate(choice: Mapping[str, Any]) -> bool:
    """Tells if the chosen way of sharing has a tower for each task.

    >>> is_separate({"chosen": "separate_1_1", "tried": [], "separate": True})
    True
    >>> is_separate({"chosen": "shared_0_3", "tried": [{"name": "shared_0_3", "seconds": 9.0}]})
    False

    Args:
        choice: As `read_choice` returns it.
    """
    name = choice["chosen"]
    for way in (choice, *choice["tried"]):
        if "separate" in way and way.get("name", name) == name:
            return way["separate"]

    # Runs that continue from another once kept the name alone, which begins with the answer.
    return name.startswith("separate_")
