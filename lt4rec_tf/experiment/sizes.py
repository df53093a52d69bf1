"""Refuses sizes that cannot be, before the logs are read: beyond memory, or below one unit."""

from __future__ import annotations

from itertools import pairwise

from lt4rec_tf.config.checks import own_embedding, table_dims
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import machine
from lt4rec_tf.core.flags import ConfigError, from_settings, refuse
from lt4rec_tf.data.formats.files import compression
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.models.layers.cross import crossed_width
from lt4rec_tf.models.registry import need_tickets
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.training.plan import Optimization

_NUMBER = 4  # bytes of a float32
# A trained number and its optimizer's moments; one number a row counts nothing.
_COPIES = {"adam": 3, "adam_by_row": 3, "adagrad": 2, "rowwise_adagrad": 1}
_SHORTEST_ROW = 2  # bytes of a line
_MOST_PACKED = 1000  # bytes of text in a byte of gzip


def check_sizes(settings: Settings, schema: Schema) -> None:
    """Refuses tables and towers beyond this machine's memory, and densities below one unit.

    Lengths of tables that the schema lacks are refused too.

    Args:
        settings: All flags.
        schema: The run's.

    Raises:
        ConfigError: Naming flag or feature, the size found and the size expected.
    """
    table_dims(settings, schema.table_rows)
    if settings.training.distribution != "parameter_server":  # whose servers share the tables
        _check_tables(settings, schema)
    _check_towers(settings, schema)

    if need_tickets(settings.models):
        _check_final_density(settings, schema)
    _check_embedding_density(settings, schema)


def _check_tables(settings: Settings, schema: Schema) -> None:
    optimizer, _ = from_settings(Optimization, settings.training).of_tables
    memory = machine.memory_bytes()
    copies = _COPIES[optimizer] + bool(settings.training.weight_average)
    lengths = row_lengths(settings, schema)
    numbers = sum(rows * lengths[table] for table, rows in schema.table_rows.items())
    size = numbers * _NUMBER * copies
    if size > memory:
        averages = " and --weight_average" if settings.training.weight_average else ""
        largest = max(schema.features, key=lambda feature: feature.ids.rows)
        raise ConfigError(
            f"{schema.path}: features[{largest.name}].ids: found {largest.ids.rows:,} rows of "
            f"{lengths[largest.table]} numbers; all tables take {machine.in_gib(size)} with the "
            f"moments of {optimizer}{averages}, expected at most the {machine.in_gib(memory)} of "
            "this machine; take fewer buckets, a smaller max_size, --bucket_share or "
            "--embedding_dim"
        )


def row_lengths(settings: Settings, schema: Schema) -> dict[str, int]:
    """Returns by table the numbers that a value has, with those of --own_embedding.

    Args:
        settings: All flags.
        schema: The run's.
    """
    dims = table_dims(settings, schema.table_rows)
    own = sum(own_embedding(settings, ()).values())
    return {t: dims.get(t, settings.model.embedding_dim) + own for t in schema.table_rows}


def _check_towers(settings: Settings, schema: Schema) -> None:
    model, memory = settings.model, machine.memory_bytes()
    numbers = sum(below * above for below, above in pairwise(_widths(settings, schema)))
    if model.cross == "dcn_v2":
        numbers += model.dcn_layers * (len(schema.features) * model.embedding_dim) ** 2

    towers, flags = _towers(settings, len(schema.tasks))
    size = towers * numbers * _NUMBER * _COPIES[settings.training.optimizer]
    if size > memory:
        raise ConfigError(
            f"--hidden_units: found {','.join(map(str, model.hidden_units))} above "
            f"{len(schema.features)} fields of --embedding_dim={model.embedding_dim}{flags}; the "
            f"kernels take {machine.in_gib(size)}, expected at most the {machine.in_gib(memory)} "
            "of this machine"
        )


def _towers(settings: Settings, tasks: int) -> tuple[int, str]:
    """Returns how many towers or experts the largest model has, and the flags that say so."""
    model, towers, flags = settings.model, 1, ""
    if "mmoe" in settings.models:
        towers, flags = model.experts, f" and --experts={model.experts:,}"
    if "ple" in settings.models:
        experts = model.expert_levels * (tasks * model.own_experts + model.shared_experts)
        if experts > towers:
            towers, flags = experts, f" and {experts:,} experts of ple"
    return towers, flags


def _widths(settings: Settings, schema: Schema) -> list[int]:
    """Returns the width of a tower's input, then of its layers."""
    model = settings.model
    fields = len(schema.features)
    return [crossed_width(model.cross, fields, model.embedding_dim), *model.hidden_units]


def _check_final_density(settings: Settings, schema: Schema) -> None:
    tickets, widths = settings.tickets, _widths(settings, schema)
    layers = len(widths) - 1
    total = sum(below * above for below, above in pairwise(widths))

    fewest, unit = layers, "weight"
    if tickets.pruned_unit == "neuron":
        fewest, unit = widths[0] + layers - 1, "neuron"
    if tickets.ticket_finder == "gradual" and tickets.block_width > 1:
        fewest, unit = layers * tickets.block_width, "block"

    kept = alive_at_level(total, tickets.final_density, 1, 1)
    if kept < fewest:
        expected = (
            f"{_rounded_up(fewest / total)} or more: of {total:,} weights {kept:,} would stay, and "
            f"a {unit} in each of {layers} layers takes {fewest:,}"
        )
        refuse("final_density", tickets.final_density, expected)


def _check_embedding_density(settings: Settings, schema: Schema) -> None:
    tickets, rows = settings.tickets, sum(schema.table_rows.values())
    density, tables = tickets.embedding_density, len(schema.tables)
    if density == 1 or tickets.embedding_unit == "dimension":  # which the flags alone decide
        return
    if any(f.ids.kind == "fitted" and f.ids.fitted is None for f in schema.features):
        return  # the audit will say how many rows there are, and sizes are checked again

    unit = tickets.embedding_unit
    total = rows if unit == "row" else rows * settings.model.embedding_dim
    kept = alive_at_level(total, density, 1, 1)
    if kept < tables:
        expected = (
            f"{_rounded_up(tables / total)} or more: of {total:,} {unit}s {kept:,} would stay, "
            f"for {tables} tables"
        )
        refuse("embedding_density", density, expected)


def _rounded_up(share: float) -> str:
    """Writes a share with three digits, no less than it is."""
    text = f"{share:.3g}"
    return text if float(text) >= share else f"{share * 1.01:.3g}"


def check_batch(settings: Settings, source: Source) -> None:
    """Refuses batches beyond this machine's memory, unless the logs hold fewer rows.

    Args:
        settings: All flags.
        source: The opened logs.

    Raises:
        ConfigError: Naming the size found and the size expected.
    """
    size_of_logs = 0
    for path in source.files:
        may_be_packed = source.layout.format == "parquet" or compression(path)
        packed = _MOST_PACKED if may_be_packed else 1
        size_of_logs += source.stamps[path].size * packed
    rows = min(settings.training.batch_size, size_of_logs // _SHORTEST_ROW)

    fields, dimension = len(source.schema.features), settings.model.embedding_dim
    numbers = fields * dimension + sum(_widths(settings, source.schema))
    size, memory = rows * numbers * _NUMBER, machine.memory_bytes()
    if size > memory:
        expected = (
            f"a batch within the {machine.in_gib(memory)} of this machine: its layers take "
            f"{machine.in_gib(size)}"
        )
        refuse("batch_size", settings.training.batch_size, expected)


def check_shuffle_buffer(settings: Settings, source: Source) -> None:
    """Refuses a shuffle buffer beyond this machine's memory, by the size of the logs' records.

    Args:
        settings: All flags.
        source: The audited logs. Packed ones are larger than is known here.

    Raises:
        ConfigError: Naming the size found and the size expected.
    """
    if settings.data.reading == "memory" or not source.records:
        return
    record = sum(source.stamps[path].size for path in source.files) / source.records
    rows = min(settings.data.shuffle_buffer, source.records)
    if rows * record > machine.memory_bytes():
        memory = machine.in_gib(machine.memory_bytes())
        expected = f"records within the {memory} of this machine: {rows:,} of them take at least "
        refuse(
            "shuffle_buffer", settings.data.shuffle_buffer, expected + machine.in_gib(rows * record)
        )
