"""Every file and folder of a run, named once; which network a saved row has.

    RUN = runs/<name>-<fingerprint>/seed_<n>/
      config.json schema.toml data.json quarantine.tsv statistics.json evaluation.json
      initial/                              theta_0
      tables/level_<k>/ ticket.npz start/   the search for a ticket of the embedding tables
      warmup/training/                      --warmup_epochs
      tickets/<task>/level_<k>/             a search: masks.npz, training/; search.json
      rows/<row>/                           masks/<task>.npz, training/
      saved_model/<version>/ tensorboard/ logs/

A run's searches lie in its own folder, unless several runs share them (`searches_of`). What lies in
a stage's folder, `training/`, is named by `training.plan`; WORKSPACE.md tells who writes what.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lt4rec_tf.config import parse
from lt4rec_tf.config.settings import Places, Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.tickets import search

# Of RUN, written before training.
CONFIG, SCHEMA, AUDIT = "config.json", "schema.toml", "data.json"
QUARANTINE = "quarantine.tsv"
STATISTICS = "statistics.json"
SEARCHES = "searches.json"  # where the searches lie, if not in RUN

# Of RUN, written by training and after it.
INITIAL, TABLES, WARMUP = "initial", "tables", "warmup"
EVALUATION = "evaluation.json"
TENSORBOARD, SAVED_MODEL, LOGS = "tensorboard", "saved_model", "logs"

# Of a search, a row or a level.
TRAINING = search.TRAINING
TABLE_MASKS = "ticket.npz"
SEARCH = "search.json"
WIDTHS = "hidden_units.json"  # of small_dense
CHOICE = "choice.json"  # of s_weight_auto

# Of RUN, where it continues from another run: the days of its chain, in order; what the day holds;
# its entry of days.json before it is measured; the entries before it; task -> the mean and scale of
# the other run's amounts.
DAYS = "days.json"
MARGINALS, DAY, HISTORY = "marginals.json", "day.json", "history.json"
STANDARDS = "standards.json"


def run_folder(settings: Settings, places: Places) -> Path:
    """Returns the folder of a run with these settings."""
    schema_text = Path(settings.data.schema).read_text(encoding="utf-8")
    fingerprint = parse.fingerprint(settings, schema_text)
    return place_of(places, settings.name, fingerprint, settings.seed)


def place_of(places: Places, name: str, fingerprint: str, seed: int) -> Path:
    """Returns a run's folder: --run_dir, or one below the folder of all runs."""
    if places.run_dir:
        return Path(places.run_dir)
    return Path(places.output_dir) / f"{name}-{fingerprint}" / f"seed_{seed}"


def has_begun(folder: Path) -> bool:
    """Tells if a run's training has begun, which binds it to the logs that its audit read."""
    return artifacts.is_done(folder / INITIAL) or (folder / "searches").exists()


def searches_of(folder: Path) -> Path:
    """Returns the folder of a run's theta_0 and searches: RUN, unless several runs share them."""
    pointer = folder / SEARCHES
    return (folder / artifacts.read_json(pointer)).resolve() if pointer.exists() else folder


def theta_0_of(searches: Path, settings: Settings) -> Path:
    """Returns the folder of theta_0, with the tables that the run's ticket leaves."""
    whole = settings.tickets.embedding_density == 1
    return searches / INITIAL if whole else searches / TABLES / "start"


def table_search(searches: Path) -> dict[str, Any] | None:
    """Reads the search for a ticket of the embedding tables; None: there was none.

    Returns:
        unit; levels, each with numbers (left, shared rows included), density (their share), kept
        {table: units} and validation {task: {metric: value}}.
    """
    path = searches / TABLES / SEARCH
    return artifacts.read_json(path) if path.exists() else None


def ticket_folder(searches: Path, task: str) -> Path:
    """Returns the folder of a task's ticket search.

    >>> ticket_folder(Path("RUN"), "ctr").as_posix()
    'RUN/tickets/ctr'
    """
    return searches / "tickets" / task


def row_folder(folder: Path, row: str) -> Path:
    """Returns the folder of a row whose tasks are trained together.

    >>> row_folder(Path("RUN"), "mmoe").as_posix()
    'RUN/rows/mmoe'
    """
    return folder / "rows" / row


def row_masks(row_folder: Path, task: str) -> Path:
    """Returns the file of a row's masks for a task."""
    return row_folder / "masks" / f"{task}.npz"


def stage_folder(folder: Path, row: str) -> Path:
    """Returns the folder of the training whose weights a row has.

    Args:
        folder: RUN.
        row: As `rows.row_names` has it: base_<task> for single tasks.
    """
    if row.startswith("base_"):
        task = row.removeprefix("base_")
        return search.level_folder(ticket_folder(searches_of(folder), task), 0) / TRAINING
    home = row_folder(folder, row)
    if row == "s_weight_auto" and (home / CHOICE).exists():
        home = chosen_folder(home)
    return home / TRAINING


def read_choice(row_folder: Path) -> dict[str, Any]:
    """Reads which way of sharing was chosen: what `sharing_search.train_auto` returned.

    Raises:
        RunError: None is chosen yet.
    """
    return artifacts.read_json(row_folder / CHOICE)


def chosen_folder(row_folder: Path) -> Path:
    """Returns the folder of the chosen way of sharing, with its masks and training.

    Raises:
        RunError: None is chosen yet.
    """
    return row_folder / read_choice(row_folder)["chosen"]


def built_as(home: Path, row: str) -> str:
    """The row whose network a row has, which for s_weight_auto its way of sharing says."""
    return way_row(home.name) if row == "s_weight_auto" else row


def way_row(name: str) -> str:
    """The row whose network a way of sharing has.

    >>> way_row("shared_0_3"), way_row("separate_1_1")
    ('s_weight', 'pruned_towers')
    """
    return "pruned_towers" if name.startswith("separate_") else "s_weight"
