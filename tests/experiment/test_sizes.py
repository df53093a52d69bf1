"""Sizes that cannot be are refused before the logs are read."""

import dataclasses

import numpy as np
import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.core import machine
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.sizes import (
    check_batch,
    check_shuffle_buffer,
    check_sizes,
    row_lengths,
)
from lt4rec_tf.models.layers.cross import crossed_width
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.schema.fitted import Vocabulary
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import good_row, line, schema, write_lines

SHAPE = ("--hidden_units=8,4", "--embedding_dim=3")  # 4 fields: inputs 4 * 4 + 4 * 3 = 28


def settings_of(*flags):
    return parse(["train", "--schema=s.toml", "--data_dir=logs", *SHAPE, *flags], "")[0]


def check(made, *flags):
    check_sizes(settings_of(*flags), made)


@pytest.fixture
def made(tmp_path):
    return schema(tmp_path)


@pytest.fixture
def memory(monkeypatch):
    """A machine of 1 GiB."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**30)


@pytest.mark.parametrize("cross", ["gram", "triangle", "dcn_v2", "none"])
def test_the_width_is_that_of_the_network(made, cross):
    network = network_of(settings_of(f"--cross={cross}"), made.with_tasks(["ctr"]), "base")
    kernels = network.kernel_shapes("ctr")
    assert next(iter(kernels.values()))[0] == crossed_width(cross, 4, 3)


@pytest.mark.parametrize(
    ("flags", "enough"),
    [
        # 28 * 8 + 8 * 4 = 256 weights; a neuron a layer takes 28 + 1.
        (["--pruned_unit=neuron", "--final_density={}"], (28 / 256, 29 / 256)),
        (["--final_density={}"], (1 / 256, 2 / 256)),
        (["--ticket_finder=gradual", "--block_width=2", "--final_density={}"], (3 / 256, 4 / 256)),
        # Tables of 100,002, 101, 51 and 2 rows.
        (["--embedding_density={}"], (3 / 100_156, 4 / 100_156)),
        (["--embedding_unit=number", "--embedding_density={}"], (3 / 300_468, 4 / 300_468)),
    ],
)
def test_a_density_below_one_unit_is_refused(made, flags, enough):
    too_small, smallest = enough
    check(made, *(text.format(smallest) for text in flags))
    name = flags[-1].partition("=")[0]
    with pytest.raises(ConfigError, match=f"{name}: found .*, expected .* or more: of .* stay"):
        check(made, *(text.format(too_small) for text in flags))


def test_tables_that_the_audit_will_fit_are_measured_once_it_has(made):
    rule = dataclasses.replace(made.features[0].ids, kind="fitted")

    def with_rule(ids):
        first = dataclasses.replace(made.features[0], ids=ids)
        return dataclasses.replace(made, features=(first, *made.features[1:]))

    few = dataclasses.replace(rule, fitted=Vocabulary(np.arange(3)))
    check(with_rule(rule), "--embedding_density=0.00001")
    with pytest.raises(ConfigError, match="--embedding_density: found 1e-05"):
        check(with_rule(few), "--embedding_density=0.00001")


def test_densities_do_not_matter_where_no_ticket_is_searched(made):
    check(made, "--models=hard_sharing", "--final_density=0.0001")


def test_tables_beyond_memory_are_refused_with_their_size(tmp_path, memory):
    text = schema(tmp_path).path.read_text().replace("buckets = 100", "buckets = 30_000_000")
    (tmp_path / "small.toml").write_text(text)
    made = load_schema(tmp_path / "small.toml")
    message = r"features\[video\].ids: found 30,000,001 rows of 3 numbers; all tables take 1 GiB"
    with pytest.raises(ConfigError, match=message):
        check(made, "--embedding_optimizer=adam")
    check(made)  # .67 GiB: Adagrad has one moment less
    with pytest.raises(ConfigError, match="1 GiB with the moments of adagrad and --weight_average"):
        check(made, "--weight_average=.98")
    check(made, "--distribution=parameter_server")  # on servers
    with pytest.raises(ConfigError, match="of 5 numbers"):
        check(made, "--embedding_optimizer=adam", "--own_embedding=ctr=2")
    check(made, "--embedding_optimizer=adam", "--table_dims=video=2")  # .67 GiB
    with pytest.raises(ConfigError, match="of 4 numbers"):
        check(made, "--embedding_optimizer=adam", "--table_dims=video=2", "--own_embedding=ctr=2")


def test_lengths_of_rows_by_table(made):
    rows = made.table_rows
    assert sorted(rows.values()) == [2, 51, 101, 100_002]
    dims = "--table_dims=video=1,number=1"
    found = row_lengths(settings_of(dims, "--own_embedding=ctr=2"), made)
    assert found == dict.fromkeys(rows, 5) | {"video": 3, "number": 3}
    assert row_lengths(settings_of(), made) == dict.fromkeys(rows, 3)


def test_lengths_of_tables_that_the_schema_lacks_are_refused(made):
    with pytest.raises(ConfigError, match="--table_dims: found 'film', expected one of the tables"):
        check(made, "--table_dims=film=1")


def test_towers_beyond_memory_are_refused_with_their_size(made, memory):
    with pytest.raises(ConfigError, match=r"--hidden_units: found 1000000000,4 .* take 358 GiB"):
        check(made, "--hidden_units=1000000000,4")
    with pytest.raises(ConfigError, match="--embedding_dim=800"):
        check(made, "--cross=dcn_v2", "--dcn_layers=20", "--embedding_dim=800")


def test_experts_beyond_memory_are_refused(made, memory):
    with pytest.raises(ConfigError, match="--experts=1,000,000;"):
        check(made, "--models=mmoe", "--experts=1000000")
    of_ple = ("--own_experts=1000000", "--shared_experts=3", "--expert_levels=1")
    with pytest.raises(ConfigError, match="2,000,003 experts of ple"):
        check(made, "--models=ple", *of_ple)
    check(made, "--models=hard_sharing", "--experts=1000000", *of_ple)


def test_batches_beyond_memory_are_refused_unless_the_logs_are_small(tmp_path, monkeypatch):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(20)])
    source = open_source(schema(tmp_path), tmp_path, SplitRule("time"))
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**20)
    whole = settings_of("--batch_size=1000000000")
    check_batch(whole, source)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**15)
    with pytest.raises(ConfigError, match="--batch_size: found 1000000000, expected a batch"):
        check_batch(whole, source)
    check_batch(settings_of("--batch_size=20"), source)


def test_a_shuffle_buffer_beyond_memory_is_refused_where_the_logs_fill_it(tmp_path, monkeypatch):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(20)])
    source = open_source(schema(tmp_path), tmp_path, SplitRule("time"))
    source = dataclasses.replace(source, records=20)
    huge = settings_of("--shuffle_buffer=1000000000000")
    check_shuffle_buffer(huge, source)

    size = (tmp_path / "a.csv").stat().st_size
    monkeypatch.setattr(machine, "memory_bytes", lambda: size - 1)
    found = r"--shuffle_buffer: found 1000000000000, expected records within .*: 20 of them"
    with pytest.raises(ConfigError, match=found):
        check_shuffle_buffer(huge, source)
    check_shuffle_buffer(settings_of("--shuffle_buffer=19"), source)
    check_shuffle_buffer(settings_of("--shuffle_buffer=1000000000000", "--reading=memory"), source)
