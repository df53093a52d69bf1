"""Checks of settings that relate several flags; a flag's own range stands beside the flag."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lt4rec_tf.config.settings import (
    CALIBRATIONS,
    DataSettings,
    ModelSettings,
    Settings,
    TicketSettings,
    TrainingSettings,
)
from lt4rec_tf.core.flags import by_name, check_fields, expect, expect_folder_name
from lt4rec_tf.core.time_units import is_date

# Models whose tasks read the cross layer by a tower alone.
MODELS_OF_MASKED_ATTENTION = (
    "base",
    "shared_bottom",
    "hard_sharing",
    "s_weight",
    "s_weight_auto",
    "s_gates",
    "pruned_towers",
)


def check(settings: Settings) -> None:
    """Refuses settings that no run can use.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    for group in (settings.data, settings.model, settings.tickets, settings.training):
        check_fields(group)
    check_fields(settings.daily)
    check_fields(settings)
    expect_folder_name(settings.name)

    _check_data(settings.data)
    _check_tickets(settings.tickets, settings.model)
    if settings.tickets.mask_attention:
        _check_masked_attention(settings)
    _check_steps(settings)
    _check_balance(settings.training)
    _check_distribution(settings)
    _check_daily(settings)

    # Tasks and tables are not known before the schema is read: see `check_tasks`, `table_dims`.
    loss_weights(settings, ())
    own_embedding(settings, ())
    table_dims(settings, ())
    calibration_methods(settings.training.calibration, ())


def _check_data(data: DataSettings) -> None:
    if data.dataset:
        expect(data.simulate_rows == 0, "simulate_rows", data.simulate_rows, "0 with --dataset")
        # A split by time with boundaries of its own, as the flag's default would be one by mistake.
        bounded = None not in (data.validation_from, data.test_from)
        may_split = data.split in ("files", "random") or (data.split == "time" and bounded)
        expected = (
            "files with --dataset: its own splits; or random, or time with --validation_from and "
            "--test_from"
        )
        expect(may_split, "split", data.split, expected)
        for name in ("validation_files", "test_files"):
            expect(not getattr(data, name), name, getattr(data, name), "nothing with --dataset")
    else:
        expect(not data.manual_dir, "manual_dir", data.manual_dir, "nothing without --dataset")

    shares = data.validation_fraction + data.test_fraction
    expect(shares < 1, "test_fraction", data.test_fraction, "with validation less than 1")
    boundaries = data.validation_from, data.test_from
    for name, boundary in zip(("validation_from", "test_from"), boundaries, strict=True):
        usable = not isinstance(boundary, str) or is_date(boundary)
        expect(usable, name, boundary, "a number, or a date such as 2026-11-25 or 2026-11-25T12:00")
    # Of dates, `experiment.logs` compares the numbers that the time column has for them.
    if isinstance(boundaries[0], float) and isinstance(boundaries[1], float):
        ordered = boundaries[0] <= boundaries[1]
        expect(ordered, "test_from", data.test_from, "not before --validation_from")


def _check_tickets(tickets: TicketSettings, model: ModelSettings) -> None:
    if tickets.rewind == "step":
        expect(tickets.rewind_step >= 1, "rewind_step", tickets.rewind_step, "1 or more")

    density = tickets.embedding_density
    if density < 1 and tickets.embedding_unit == "dimension":
        one = 1 / model.embedding_dim
        expect(density >= one, "embedding_density", density, f"{one} or more: a dimension a table")

    if density < 1:
        dims = model.table_dims
        expect(not dims, "table_dims", dims, "nothing with --embedding_density, which cuts tables")

    if tickets.ticket_finder == "gradual":
        expect(tickets.pruned_unit == "weight", "pruned_unit", "neuron", "weight with gradual")
        score = tickets.ticket_score
        expect(score == "magnitude", "ticket_score", score, "magnitude with gradual")
        own = model.own_embedding
        expect(not own, "own_embedding", own, "nothing with --ticket_finder=gradual")
        dropout = model.tower_dropout  # its towers are built of layers of another package
        expect(dropout == 0, "tower_dropout", dropout, "0 with --ticket_finder=gradual")
    if tickets.ticket_score == "movement":
        rewind = tickets.rewind
        expect(rewind == "initial", "rewind", rewind, "initial with --ticket_score=movement")

    width = tickets.block_width
    fits = width == 1 or 1 < width < min(model.hidden_units)
    expect(fits, "block_width", width, "1, or less than the narrowest of --hidden_units")


def _check_masked_attention(settings: Settings) -> None:
    """Refuses what knows tickets of towers alone."""
    tickets, with_flag = settings.tickets, "with --mask_attention"
    for model in settings.models:
        expected = f"some of {', '.join(MODELS_OF_MASKED_ATTENTION)} {with_flag}"
        expect(model in MODELS_OF_MASKED_ATTENTION, "models", model, expected)
    unit, finder = tickets.pruned_unit, tickets.ticket_finder
    expect(unit == "weight", "pruned_unit", unit, f"weight {with_flag}")
    expect(finder == "iterative", "ticket_finder", finder, f"iterative {with_flag}")
    own = settings.model.own_embedding
    expect(not own, "own_embedding", own, f"nothing {with_flag}")
    kind, added_to = settings.training.distribution, settings.daily.add_to
    expect(kind in ("none", "mirrored"), "distribution", kind, f"none or mirrored {with_flag}")
    expect(not added_to, "add_to", added_to, f"nothing {with_flag}")


def _check_steps(settings: Settings) -> None:
    decay, average = settings.training.weight_decay, settings.training.weight_average
    if settings.training.learning_rate_decay != "none":
        epochs = settings.training.epochs
        expect(epochs >= 1, "epochs", epochs, "1 or more with --learning_rate_decay")
    if decay:
        expect(settings.training.optimizer == "adam", "weight_decay", decay, "0 with adagrad")
    if settings.tickets.ticket_finder == "gradual":  # an average of cut weights is not 0
        expect(average == 0, "weight_average", average, "0 with --ticket_finder=gradual")


def _check_balance(training: TrainingSettings) -> None:
    if training.balance != "none":
        schedule = training.task_schedule
        expect(schedule == "both", "task_schedule", schedule, "both with --balance")


def _check_distribution(settings: Settings) -> None:
    kind = settings.training.distribution
    if kind == "none":
        return

    processes, reading = settings.training.search_processes, settings.data.reading
    expect(processes == 1, "search_processes", processes, f"1 with --distribution={kind}")
    if kind != "mirrored":
        expect(reading == "stream", "reading", reading, f"stream with --distribution={kind}")

    # Workers of parameter servers step independently: there is no common count of steps.
    if kind == "parameter_server":
        finder, rewind = settings.tickets.ticket_finder, settings.tickets.rewind
        density = settings.tickets.embedding_density
        expect(density == 1, "embedding_density", density, f"1 with --distribution={kind}")
        average = settings.training.weight_average
        decay, warmup = (
            settings.training.learning_rate_decay,
            settings.training.learning_rate_warmup,
        )
        reason = "with --distribution=parameter_server, whose workers count no common steps"
        expect(average == 0, "weight_average", average, f"0 {reason}")
        expect(decay == "none", "learning_rate_decay", decay, f"none {reason}")
        expect(warmup == 0, "learning_rate_warmup", warmup, f"0 {reason}")
        expect(finder != "gradual", "ticket_finder", finder, f"iterative {reason}")
        expect(rewind != "step", "rewind", rewind, f"initial or none {reason}")


def _check_daily(settings: Settings) -> None:
    daily, data, tickets = settings.daily, settings.data, settings.tickets
    if not daily.warm_start:
        expect(data.split != "none", "split", data.split, "another without --warm_start")
        for name in ("frozen", "grow_vocabularies", "retrain_day"):
            value = getattr(daily, name)
            expect(not value, name, value, "nothing without --warm_start")
        if daily.add_to:
            _check_added(settings)
        if not daily.masks:
            return

    source = "--warm_start" if daily.warm_start else "--masks"
    if daily.warm_start:
        expect(not daily.add_to, "add_to", daily.add_to, "nothing with --warm_start")
        expect(data.split == "none", "split", data.split, f"none with {source}: all rows train")
        expect(data.simulate_rows == 0, "simulate_rows", data.simulate_rows, f"0 with {source}")

    expect(
        "base" not in settings.models,
        "models",
        settings.models,
        f"no base with {source}: no search",
    )
    expect(tickets.warmup_epochs == 0, "warmup_epochs", tickets.warmup_epochs, f"0 with {source}")
    control, kind = tickets.ticket_control, settings.training.distribution
    expect(control == "none", "ticket_control", control, f"none with {source}")
    expect(kind in ("none", "mirrored"), "distribution", kind, f"none or mirrored with {source}")


def _check_added(settings: Settings) -> None:
    """Refuses what needs a training of all tasks together, or another start."""
    training, tickets = settings.training, settings.tickets
    refused = {
        "masks": (settings.daily.masks, ""),
        "distribution": (training.distribution, "none"),
        "balance": (training.balance, "none"),
        "gradient_conflict": (training.gradient_conflict, False),
        "warmup_epochs": (tickets.warmup_epochs, 0),
    }
    for name, (found, expected) in refused.items():
        said = str(expected) or "nothing"
        expect(found == expected, name, found, f"{said} with --add_to")


def loss_weights(settings: Settings, tasks: Sequence[str]) -> dict[str, float]:
    """Returns the weights a, b, ... of Eq. 2 (LT4REC) by task.

    Args:
        settings: Holds `loss_weights` as "task=weight" texts.
        tasks: The run's tasks; empty while these are not known yet, which skips that check.

    Raises:
        ConfigError: A text that is not task=number, a weight not above 0, an unknown task.
    """
    weights = by_name("loss_weights", settings.training.loss_weights, tasks, float, "a weight")
    return dict.fromkeys(tasks, 1.0) | weights


def check_tasks(settings: Settings, tasks: Sequence[str]) -> None:
    """Refuses flags that name a task which the schema lacks.

    Raises:
        ConfigError: Naming the flag.
    """
    loss_weights(settings, tasks)
    own_embedding(settings, tasks)
    calibration_methods(settings.training.calibration, tasks)


def own_embedding(settings: Settings, tasks: Sequence[str]) -> dict[str, int]:
    """Returns the lengths of the field vectors that one task alone reads, by task.

    Raises:
        ConfigError: As `loss_weights`.
    """
    return by_name("own_embedding", settings.model.own_embedding, tasks, int, "a whole number")


def calibration_methods(texts: Sequence[str], tasks: Sequence[str]) -> dict[str, str]:
    """Returns how each task is calibrated that is.

    >>> calibration_methods(["isotonic", "cvr=duration", "like=none"], ["ctr", "cvr", "like"])
    {'ctr': 'isotonic', 'cvr': 'duration'}

    Args:
        texts: Of --calibration: task=method, or a method of all tasks that no other text names.
        tasks: The run's; empty while these are not known yet, which skips that check.

    Raises:
        ConfigError: Another text, an unknown method or task, a task or all tasks twice.
    """
    methods: dict[str, str] = {}
    for text in texts:
        task, equals, method = text.rpartition("=")
        known = "one of " + ", ".join(CALIBRATIONS)
        expect(method in CALIBRATIONS, "calibration", text, f"{known}, or task=method")
        expect(task not in methods, "calibration", text, "one method for a task")
        expect(bool(task) == bool(equals), "calibration", text, "task=method")
        if tasks and task:
            expect(task in tasks, "calibration", task, f"one of the tasks {tuple(tasks)}")
        methods[task] = method

    others = methods.pop("", "none")
    of_tasks = {task: methods.get(task, others) for task in tasks}
    return {task: method for task, method in of_tasks.items() if method != "none"}


def table_dims(settings: Settings, tables: Collection[str]) -> dict[str, int]:
    """Returns the numbers in a row of each table that --table_dims names.

    Args:
        settings: Holds `table_dims` as "table=length" texts.
        tables: The schema's; empty while these are not known yet, which skips that check.

    Raises:
        ConfigError: A text that is not table=number, a length that is none of a field vector's
            numbers, an unknown table.
    """
    flag, most = "table_dims", settings.model.embedding_dim
    texts, what = settings.model.table_dims, "a whole number"
    dims = by_name(flag, texts, tables, int, what, of="table", example="video=8")
    for table, length in dims.items():
        at_most = f"a length of at most --embedding_dim={most}"
        expect(length <= most, flag, f"{table}={length}", at_most)
    return dims
