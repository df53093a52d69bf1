"""Flags and flagfiles as settings, and the refusal of wrong ones."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.config.checks import loss_weights, own_embedding, table_dims
from lt4rec_tf.config.parse import (
    _GROUPS,
    _NEWER,
    fingerprint,
    from_dict,
    gives_models,
    parse,
    parse_with,
    to_dict,
)
from lt4rec_tf.config.settings import (
    DailySettings,
    DataSettings,
    ModelSettings,
    Places,
    Settings,
    TicketSettings,
    TrainingSettings,
)
from lt4rec_tf.core import flags as core_flags
from lt4rec_tf.core.flags import ConfigError, differences
from lt4rec_tf.experiment.model_checks import check_models
from lt4rec_tf.models import registry

NEEDED = ("train", "--schema=s.toml", "--data_dir=logs")


def parsed(*flags):
    return parse([*NEEDED, *flags], "", registry.descriptions())[0]


def test_a_flagfile_becomes_settings(tmp_path):
    common = tmp_path / "common.cfg"
    common.write_text("--schema=s.toml\n--data_dir=logs\n--epochs=3\n")
    flagfile = tmp_path / "run.cfg"
    flagfile.write_text(
        f"# a run\n--flagfile={common}\n--epochs=5\n--hidden_units=8,4\n--tasks=cvr,ctr\n"
        "--validation_from=3.5\n--cross=dcn_v2\n--loss_weights=cvr=1.5\n"
    )
    settings, places = parse(
        ["train", f"--flagfile={flagfile}", "--seed=7", "--output_dir=there"], ""
    )
    assert settings.data.schema == "s.toml"
    assert settings.training.epochs == 5
    assert settings.model.hidden_units == (8, 4)
    assert settings.model.cross == "dcn_v2"
    assert settings.tasks == ("cvr", "ctr")
    assert settings.data.validation_from == 3.5
    assert settings.training.loss_weights == ("cvr=1.5",)
    assert settings.seed == 7
    assert places == Places(output_dir="there", run_dir="")


def test_boundaries_are_numbers_or_dates():
    given = ("--validation_from=20261125", "--test_from=2026-11-25T12:00")
    data = parsed(*given).data
    assert (data.validation_from, data.test_from) == (20261125.0, "2026-11-25T12:00")
    assert isinstance(data.validation_from, float)
    assert from_dict(to_dict(parsed(*given))) == parsed(*given)
    assert parsed().data.test_from is None


def test_what_is_trained_where_no_model_is_named():
    assert parsed("--ticket_search=fast").models == ("s_gates",)
    assert parsed("--ticket_search=fast", "--models=base,s_weight").models == ("base", "s_weight")
    assert parsed("--ticket_search=thorough").models == parsed().models
    assert {"base", "s_weight", "s_gates"} <= set(parsed().models)


def test_models_were_once_called_rows(tmp_path, capsys):
    flagfile = tmp_path / "earlier.cfg"
    flagfile.write_text("--rows=base,s_weight\n")
    for flag in ("--rows=base,s_weight", f"--flagfile={flagfile}"):
        assert parsed(flag) == parsed("--models=base,s_weight")
        assert gives_models([*NEEDED, flag])
    # It is one flag of two names: the last one wins.
    assert parsed("--models=base", "--rows=s_weight").models == ("s_weight",)
    assert parsed("--rows=base", "--models=s_weight").models == ("s_weight",)
    with pytest.raises(ConfigError, match=r"--models: found \('stitch',\), expected some of"):
        parsed("--rows=stitch")
    assert "--rows" not in helped(capsys, "--helpfull")

    # Runs keep the first name, so that those of earlier versions are read.
    stored = to_dict(parsed("--models=base"))
    assert stored["rows"] == ["base"]
    assert "models" not in stored
    assert from_dict(stored).models == ("base",)


def test_workers_are_given_no_model_that_they_refuse_where_none_is_named(small_schema):
    for distribution in ("mirrored", "multi_worker", "parameter_server"):
        settings = parsed(f"--distribution={distribution}")
        assert "s_weight_auto" in settings.models
        check_models(settings, small_schema)


def test_the_seed_of_a_random_split_is_no_setting_of_earlier_runs():
    assert "split_seed" not in to_dict(parsed())["data"]
    random = parsed("--split=random", "--split_seed=2")
    assert to_dict(random)["data"]["split_seed"] == 2
    assert from_dict(to_dict(random)) == random
    assert fingerprint(random, "") != fingerprint(parsed("--split=random"), "")


# Settings of the first runs. A flag that comes later is named in `_NEWER`: without it no run that
# was made before could be read, and none could go on.
FIRST = {
    "data": "schema data_dir simulate_rows simulate_seed simulate_click_rate simulate_conflict "
    "simulate_purchases dataset manual_dir split validation_from test_from validation_fraction "
    "test_fraction validation_files test_files max_bad_fraction max_duplicate_fraction "
    "shuffle_buffer reading memory_limit_gib",
    "model": "embedding_dim embedding_stddev bucket_share cross dcn_layers hidden_units "
    "own_embedding experts own_experts shared_experts expert_levels label_embedding "
    "representation fusion transfer_stop label_noise label_temperature label_temperature_decay "
    "label_temperature_steps label_temperature_floor",
    "tickets": "ticket_finder final_density rounds rewind rewind_step ticket_choice "
    "choice_tolerance block_width pruned_unit ticket_score warmup_epochs embedding_density "
    "embedding_unit embedding_rounds ticket_control",
    "training": "batch_size search_epochs search_processes epochs patience optimizer "
    "learning_rate task_schedule loss_weights balance core_projection core_relaxation core_clip "
    "gradient_conflict conflict_cvr_weight conflict_ctr_weight conflict_long_video "
    "conflict_long_ratio conflict_short_ratio auto_trainings precision distribution shard_mib "
    "checkpoint_steps",
    "daily": "warm_start masks frozen grow_vocabularies retrain_day",
}


@pytest.mark.parametrize("group", [*_GROUPS])
def test_a_run_of_before_a_flag_is_still_read(group):
    names = {item.name for item in dataclasses.fields(_GROUPS[group])}
    assert names == set(FIRST[group].split()) | set(_NEWER.get(group, {}))


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("data", "simulate_reactions", True),
        ("data", "simulate_users", 1000),
        ("data", "simulate_moods", True),
        ("model", "field_dropout", 0.2),
        ("model", "tower_dropout", 0.2),
        ("model", "table_dims", "video=8"),
        ("training", "embedding_optimizer", "rowwise_adagrad"),
        ("training", "embedding_learning_rate", 0.01),
        ("training", "learning_rate_warmup", 10),
        ("training", "embedding_l2", 1e-5),
        ("training", "weight_decay", 0.01),
        ("training", "clip_norm", 5.0),
        ("training", "label_smoothing", 0.1),
        ("training", "weight_average", 0.98),
        ("training", "rewind_tables", 2),
        ("tickets", "ticket_search", "fast"),
        ("daily", "add_to", "runs/first"),
    ],
)
def test_newer_flags_that_change_nothing_are_no_setting_of_earlier_runs(group, name, value):
    earlier = ("--embedding_optimizer=same", "--unknown_dropout=none")
    assert name not in to_dict(parsed(*earlier)).get(group, {})
    given = parsed(*earlier, f"--{name}={value}")
    assert to_dict(given)[group][name] == ([value] if name == "table_dims" else value)
    assert from_dict(to_dict(given)) == given


def test_runs_older_than_an_optimizer_of_the_tables_have_one_for_all_weights():
    values = to_dict(parsed())
    del values["training"]["embedding_optimizer"]
    assert from_dict(values) == parsed("--embedding_optimizer=same")


def test_flags_that_are_not_given_are_the_fields_defaults():
    settings = parsed()
    for name, group in _GROUPS.items():
        needed = {"schema": "s.toml", "data_dir": "logs"} if name == "data" else {}
        assert getattr(settings, name) == group(**needed)


WRONG = [
    "--schema=",
    "--data_dir=",
    "--simulate_rows=-1",
    "--simulate_seed=-1",
    "--seed=-1",
    f"--seed={2**63}",
    f"--batch_size={10**20}",
    f"--hidden_units=8,{10**20}",
    "--split=day",
    "--split_seed=-1",
    "--validation_from=soon",
    "--test_from=2026-02-30",
    "--test_from=20:00",
    "--validation_fraction=1",
    "--validation_fraction=nan",
    "--test_fraction=-0.1",
    "--test_fraction=0.9",  # with validation's 0.1 nothing is left for train
    "--max_bad_fraction=1.5",
    "--shuffle_buffer=0",
    "--reading=disk",
    "--memory_limit_gib=0",
    "--memory_limit_gib=nan",
    "--embedding_dim=0",
    "--embedding_dim=4.5",
    "--cross=product",
    "--dcn_layers=0",
    "--hidden_units=",
    "--hidden_units=8,0",
    "--hidden_units=8,wide",
    "--table_dims=video",
    "--table_dims=video=0",
    "--table_dims=video=1.5",
    "--table_dims=video=17",  # of --embedding_dim=16
    "--own_embedding=cvr",
    "--own_embedding=cvr=0",
    "--own_embedding=cvr=1.5",
    "--own_embedding=cvr=many",
    "--counterfactual_share=0",
    "--counterfactual_share=1.5",
    "--mask_penalty=-1",
    "--cascade_pruned=1",
    "--experts=0",
    "--own_experts=0",
    "--shared_experts=0",
    "--expert_levels=0",
    "--ticket_finder=random",
    "--final_density=0",
    "--final_density=1",
    "--final_density=nan",
    "--rounds=0",
    "--rewind=never",
    "--rewind_step=-1",
    "--ticket_choice=worst",
    "--choice_tolerance=-0.1",
    "--choice_tolerance=nan",
    "--block_width=0",
    "--pruned_unit=layer",
    "--ticket_score=luck",
    "--warmup_epochs=-1",
    "--ticket_control=sparser",
    "--batch_size=0",
    "--search_epochs=-1",
    "--epochs=-1",
    "--learning_rate_decay=linear",
    "--patience=-1",
    "--optimizer=sgd",
    "--learning_rate=0",
    "--learning_rate=nan",
    "--learning_rate=inf",
    "--embedding_optimizer=sgd",
    "--embedding_learning_rate=-1",
    "--field_dropout=1",
    "--tower_dropout=1",
    "--learning_rate_decay=steps",
    "--learning_rate_warmup=-1",
    "--embedding_l2=-1",
    "--weight_decay=nan",
    "--clip_norm=-1",
    "--label_smoothing=1",
    "--weight_average=1",
    "--task_schedule=random",
    "--loss_weights=cvr",
    "--loss_weights=cvr=much",
    "--loss_weights=cvr=0",
    "--loss_weights=cvr=nan",
    "--loss_weights=cvr=inf",
    "--balance=fair",
    "--conflict_cvr_weight=0",
    "--conflict_ctr_weight=nan",
    "--conflict_long_video=-1",
    "--conflict_long_ratio=1.1",
    "--conflict_short_ratio=nan",
    "--auto_trainings=0",
    "--checkpoint_steps=-1",
    "--calibration=sigmoid",
    "--calibration=ctr",
    "--calibration=platt,isotonic",
    "--name=",
    "--name=..",
    "--name=a/b",
    "--models=",
    "--models=base,cross_stitch",
    "--epoch_s=3",
]


@pytest.mark.parametrize("flag", WRONG)
def test_wrong_flags_are_refused_by_name(flag):
    name = flag.removeprefix("--").partition("=")[0]
    with pytest.raises(ConfigError, match=name):
        parsed(flag)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--rewind=step"], "rewind_step"),
        (["--hidden_units=16,8", "--block_width=8"], "block_width"),
        (["--balance=pcgrad", "--task_schedule=alternate"], "balance"),
        (["--table_dims=video=8", "--embedding_dim=4"], "table_dims: found 'video=8', .*=4"),
        (["--table_dims=video=8", "--embedding_density=.5"], "table_dims"),
        (["--ticket_finder=gradual", "--own_embedding=cvr=4"], "own_embedding"),
        (["--ticket_finder=gradual", "--tower_dropout=.2"], "tower_dropout"),
        (["--ticket_finder=gradual", "--pruned_unit=neuron"], "pruned_unit"),
        (["--ticket_finder=gradual", "--ticket_score=movement"], "ticket_score"),
        (["--rewind=reinitialize", "--ticket_score=movement"], "ticket_score"),
        (["--validation_from=5", "--test_from=4"], "test_from"),
        (["--dataset=feed", "--split=time"], "split"),
        (["--dataset=feed", "--split=files", "--test_files=a"], "test_files"),
        (["--dataset=feed", "--split=files", "--simulate_rows=9"], "simulate_rows"),
        (["epochs=3"], "epochs=3"),
        (["--flagfile=absent.cfg"], "absent.cfg"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_refused(flags, name):
    with pytest.raises(ConfigError, match=name):
        parsed(*flags)


def test_the_schema_must_be_named():
    with pytest.raises(ConfigError, match="--schema"):
        parse(["train"], "")


def helped(capsys, flag):
    with pytest.raises(SystemExit) as stop:
        parse(["train", flag], "What this does.", registry.descriptions())
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("What this does.\n\nThe logs and their splits\n")
    return shown


def test_help_shows_about_a_dozen_flags_and_says_how_many_there_are_more(capsys):
    shown, full = helped(capsys, "--help"), helped(capsys, "--helpfull")
    flags, all_flags = (re.findall(r"^  --(?:\[no\])?(\w+)", page, re.M) for page in (shown, full))
    assert 12 <= len(flags) <= 18
    assert (
        {"schema", "data_dir", "models", "epochs", "run_dir", "flagfile"}
        <= set(flags)
        < set(all_flags)
    )
    assert shown.endswith(f"\n\n{len(all_flags) - len(flags)} more flags: --helpfull\n")
    assert "  --schema=TEXT  (required)\n" in shown
    assert "  --split={time|user|random|files|none}  (default: time)\n" in shown
    assert max(map(len, shown.splitlines())) <= 88


def test_the_full_help_lists_every_flag(capsys):
    shown = helped(capsys, "--helpfull")
    for group in (*_GROUPS.values(), Places):
        for item in dataclasses.fields(group):
            assert f"\n  --{item.name}=" in shown or f"\n  --[no]{item.name}  " in shown
    in_one_line = " ".join(shown.split())
    for name, what in registry.descriptions().items():
        assert f"{name} ({what})" in in_one_line


densities = st.floats(0.01, 0.99)
settings_trees = st.builds(
    Settings,
    data=st.builds(
        DataSettings,
        schema=st.text(min_size=1),
        data_dir=st.just("logs"),
        validation_from=st.none() | st.floats(-1e9, 0),
        test_from=st.none() | st.floats(0, 1e12),
        validation_files=st.lists(st.text()).map(tuple),
    ),
    model=st.builds(
        ModelSettings,
        cross=st.sampled_from(["gram", "triangle", "dcn_v2", "none"]),
        embedding_dim=st.integers(1, 64),
        hidden_units=st.lists(st.integers(1, 512), min_size=1).map(tuple),
        dcn_layers=st.integers(1, 4),
    ),
    tickets=st.builds(
        TicketSettings,
        final_density=densities,
        rounds=st.integers(1, 9),
        rewind_step=st.integers(1, 9),
        choice_tolerance=densities,
        block_width=st.just(1),
    ),
    training=st.builds(
        TrainingSettings,
        learning_rate=st.floats(1e-6, 1.0),
        loss_weights=st.lists(st.floats(0.5, 2).map(lambda w: f"cvr={w}")).map(tuple),
        batch_size=st.integers(1, 999),
        search_epochs=st.just(1),
        epochs=st.integers(1, 9),
        patience=st.integers(0, 9),
        checkpoint_steps=st.integers(0, 9),
    ),
    daily=st.just(DailySettings()),
    name=st.just("run"),
    tasks=st.lists(st.text()).map(tuple),
    models=st.sampled_from([("base",), ("base", "s_weight")]),
    seed=st.integers(0, 2**63 - 1),
)


@given(settings_trees)
def test_settings_survive_json(settings):
    through_json = json.loads(json.dumps(to_dict(settings)))
    assert from_dict(through_json) == settings


def changed(path, value):
    values = to_dict(parsed())
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    inner[name] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.epochs", -1, "--epochs"),
        ("training.epochs", "3", "do not fit"),
        ("training.momentum", 0.9, "momentum"),
        ("model.cross", "product", "model.cross: found .product., expected one of"),
        ("training.task_schedule", "random", "training.task_schedule"),
        ("mystery", 1, "mystery"),
    ],
)
def test_dictionaries_that_are_no_settings_are_refused(path, value, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(changed(path, value))


def test_a_dictionary_without_a_group_is_refused():
    values = to_dict(parsed())
    del values["tickets"]
    with pytest.raises(ConfigError, match="tickets"):
        from_dict(values)


def other_value(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, tuple):
        return (*value, value[0] if value else "x")
    return 1.0 if value is None else f"{value}_2"


def settings_that_differ_once():
    settings = parsed()
    for name, group in _GROUPS.items():
        values = getattr(settings, name)
        for item in dataclasses.fields(group):
            new = dataclasses.replace(
                values, **{item.name: other_value(getattr(values, item.name))}
            )
            yield f"{name}.{item.name}", dataclasses.replace(settings, **{name: new})
    for name in ("name", "tasks", "models"):
        value = other_value(getattr(settings, name))
        yield name, dataclasses.replace(settings, **{name: value})


def test_every_setting_but_the_seed_changes_the_fingerprint():
    settings = parsed()
    expected = fingerprint(settings, "schema")
    seen = {expected}
    for path, other in settings_that_differ_once():
        other_fingerprint = fingerprint(other, "schema")
        assert other_fingerprint not in seen, path
        seen.add(other_fingerprint)
    assert fingerprint(settings, "another schema") not in seen
    assert fingerprint(dataclasses.replace(settings, seed=9), "schema") == expected


def test_fingerprints_are_ten_hexadecimal_digits():
    assert len(fingerprint(parsed(), "")) == 10
    int(fingerprint(parsed(), ""), 16)


def test_differences_name_values_that_are_new_gone_or_changed():
    old = {"a": {"b": {"c": 1}, "same": [1]}, "gone": None, "dropped": 2}
    new = {"a": {"b": {"c": 2}, "same": [1]}, "added": "x"}
    assert differences(old, new) == [
        "a.b.c: was 1, is 2",
        "added: was None, is 'x'",
        "dropped: was 2, is None",
    ]
    assert differences(new, new) == []


def test_loss_weights_are_1_where_not_named():
    settings = parsed("--loss_weights=cvr=1.5")
    assert loss_weights(settings, ("ctr", "cvr")) == {"ctr": 1.0, "cvr": 1.5}


def test_loss_weights_of_unknown_tasks_are_refused():
    with pytest.raises(ConfigError, match=r"--loss_weights: found 'like'.*\('ctr', 'cvr'\)"):
        loss_weights(parsed("--loss_weights=like=2"), ("ctr", "cvr"))


def test_own_embeddings_are_whole_numbers_by_task():
    assert own_embedding(parsed("--own_embedding=cvr=8,ctr=4"), ()) == {"cvr": 8, "ctr": 4}
    with pytest.raises(ConfigError, match=r"--own_embedding: found 'like'.*\('ctr', 'cvr'\)"):
        own_embedding(parsed("--own_embedding=like=2"), ("ctr", "cvr"))


def test_lengths_of_rows_are_whole_numbers_by_table():
    settings = parsed("--table_dims=video=8,user=16", "--embedding_dim=16")
    assert table_dims(settings, ("user", "video", "city")) == {"video": 8, "user": 16}
    message = r"--table_dims: found 'video', expected one of the tables \('user', 'city'\)"
    with pytest.raises(ConfigError, match=message):
        table_dims(settings, ("user", "city"))
    with pytest.raises(ConfigError, match="table=a whole number, such as video=8"):
        parsed("--table_dims=video")


@dataclasses.dataclass(frozen=True)
class _More:
    colour: str = core_flags.flag("red", "A flag of another command.")


def test_a_command_can_have_flags_of_its_own():
    settings, places, more = parse_with([*NEEDED, "--colour=blue"], "", _More)
    assert (settings, places) == parse([*NEEDED], "")
    assert more == _More("blue")
    with pytest.raises(ConfigError, match="colour"):
        parsed("--colour=blue")


@pytest.mark.parametrize("flag", ["run_dir", "data_dir", "tasks"])
def test_a_flag_that_is_no_utf_8_is_refused(flag):
    with pytest.raises(ConfigError, match=f"--{flag}: found .*udcff.*, expected UTF-8"):
        parse(["train", f"--{flag}=a,b\udcff"], "")
