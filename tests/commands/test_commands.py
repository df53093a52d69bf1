"""Every command that the project shows is one that it has."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from lt4rec_tf import evaluate, export, predict, serve, simulate_online
from lt4rec_tf.config import settings
from lt4rec_tf.config.checks import loss_weights, own_embedding
from lt4rec_tf.config.parse import parse, parse_with
from lt4rec_tf.core.flags import ConfigError, build, check_fields, parse_flags
from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.data.inspect.column_roles import RoleFlags
from lt4rec_tf.data.simulator.world import FeedSettings
from lt4rec_tf.experiment import run_folder
from lt4rec_tf.experiment.comparison.grid import CompareFlags, candidates, read_models
from lt4rec_tf.experiment.lightgcn.settings import EmbeddingSettings, check
from lt4rec_tf.experiment.publishing import ExportFlags
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.train import TrainFlags
from tests.support.paths import PROJECT

pytestmark = pytest.mark.slow(minutes=1)
FLAGFILES = sorted((PROJECT / "configs").glob("*.cfg"))
DATA_SETS = sorted((PROJECT / "configs" / "data_sets").glob("*.cfg"))
COMPARISONS = sorted((PROJECT / "configs" / "compare").glob("*.cfg"))
PROTOCOLS = sorted((PROJECT / "configs" / "protocols").glob("*.cfg"))
MODELS_FILE = PROJECT / "configs" / "compare" / "models.toml"
EMBEDDING_TICKETS = sorted((PROJECT / "configs" / "embedding_tickets").glob("*.cfg"))
CONFIGS = [*FLAGFILES, *DATA_SETS, *COMPARISONS, *PROTOCOLS, *EMBEDDING_TICKETS, MODELS_FILE]
MARKDOWN = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
MARKDOWN += [PROJECT / "export" / "README.md"]
MARKDOWN += [path for path in sorted(PROJECT.glob("*.md")) if path not in MARKDOWN]
FENCE = re.compile(r"^ *```.*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"python3?(\.11)?")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)  # flagfiles and schemas are named from here


def shown_commands(text):
    """Commands as lists of words, of lines that may go on after a backslash."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shell_words(line.strip().removeprefix("$ "))
        start = 0
        for place, word in enumerate([*words, ";"]):
            if word in ("&&", "||", "|", ";", "&"):
                if is_command(words[start:place]):
                    yield words[start:place]
                start = place + 1


def is_command(words):
    """Whether words run Python or make; other lines are output, TOML and the like."""
    return bool(words) and (words[0] == "make" or PYTHON.fullmatch(Path(words[0]).name))


def shell_words(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # the output of a command, in which quotes need not close
        return []


def commands_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        for block in FENCE.findall(text):
            yield from shown_commands(block)
    elif path.suffix in (".cfg", ".toml"):
        lines = (line.removeprefix("#").strip() for line in text.splitlines() if line[:1] == "#")
        yield from shown_commands("\n".join(line for line in lines if line.startswith("python ")))
    else:
        # Of a docstring, the lines that are a command; of the code, none.
        lines = (line.strip() for line in text.splitlines())
        yield from shown_commands("\n".join(line for line in lines if line.startswith("python -m")))


def check_command(words):
    """Refuses a command of this project with an unknown module, flag, flagfile or target."""
    if words[1:2] == ["-m"] and words[2].split(".")[0] == "lt4rec_tf":
        check_module(words[2], words[3:])
    elif words[1:] and words[1].endswith(".py"):
        assert (PROJECT / words[1]).is_file(), words
    elif words[0] == "make":
        targets = {word for word in words[1:] if "=" not in word}
        assert targets <= make_targets(), words


def check_module(module, flags):
    path = PROJECT / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    flags = [flag for flag in flags if flag not in ("--help", "...")]
    if module == "lt4rec_tf.train":
        argv = ["train", "--data_dir=given", *flags]
        settings, _, _ = parse_with(argv, "", TrainFlags)
        run_folder.read_schema(existing(settings.data.schema), settings)
    elif module == "lt4rec_tf.compare":
        check_comparison(flags)
    elif module == "lt4rec_tf.simulate_online":
        values = parse_flags([module, *flags], "", [simulate_online._Flags])
        simulate_online.check(build(simulate_online._Flags, values))
    elif module in ("lt4rec_tf.evaluate", "lt4rec_tf.export"):
        groups = [evaluate._Flags]
        if module == "lt4rec_tf.export":
            groups = [export._Flags, ExportFlags]
        values = parse_flags([module, *flags], "", groups)
        assert values["run"], "--run is missing"
    elif module == "lt4rec_tf.predict":
        check_fields(build(predict._Flags, parse_flags([module, *flags], "", [predict._Flags])))
    elif module == "lt4rec_tf.serve":
        assert build(serve._Flags, parse_flags([module, *flags], "", [serve._Flags])).model
    elif module == "lt4rec_tf.embedding_tickets":
        check_embedding_tickets(flags)
    elif module == "lt4rec_tf.data.simulator":
        known = {f"--{item.name}" for item in dataclasses.fields(FeedSettings)} | {"--dir"}
        assert {flag.partition("=")[0] for flag in flags if flag[:2] == "--"} <= known
    elif module == "lt4rec_tf.data.inspect":
        values = parse_flags([module, *flags], "", [inspect.InspectFlags, RoleFlags])
        assert values["files"], "--files is missing"
    elif module == "lt4rec_tf.data.convert":
        values = parse_flags([module, *flags], "", [convert.ConvertFlags])
        convert.check(build(convert.ConvertFlags, values))
    else:
        raise AssertionError(f"{module}: is shown, and this test does not know its flags")


def check_embedding_tickets(flags):
    groups = [EmbeddingSettings, settings.Places]
    argv = ["embedding_tickets", "--data_dir=given", *flags]
    values = parse_flags(argv, "", groups)
    found = build(EmbeddingSettings, values)
    check(found)
    return found


def check_comparison(flags):
    """Returns settings and candidates of a comparison, each with flags that its tasks can have."""

    def parse(more):
        argv = ["compare", "--data_dir=given", *flags, *more]
        parsed, _, _ = parse_with(argv, "", CompareFlags)
        loss_weights(parsed, tasks)
        own_embedding(parsed, tasks)
        return parsed

    argv = ["compare", "--data_dir=given", *flags]
    settings, _, compare = parse_with(argv, "", CompareFlags)
    schema = run_folder.read_schema(existing(settings.data.schema), settings)
    tasks = [task.name for task in schema.tasks]
    specs = read_models(Path(compare.models_file), compare.only, tasks)
    return settings, {spec.name: candidates(spec, compare, parse) for spec in specs}


def existing(schema):
    """The schema, or for the name of one that a reader is to write, one that is there."""
    path = Path(schema)
    return (
        path if path.parts[:2] == ("configs", "schemas") else "configs/schemas/simulated_feed.toml"
    )


def make_targets():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


SHOWN = [
    (path, words)
    for path in [*MARKDOWN, *CONFIGS, *(PROJECT / "lt4rec_tf").rglob("*.py")]
    if path.exists()
    for words in commands_of(path)
    # docs/own_logs.md shows the program itself; test_own_logs.py runs it.
    if words != ["python", "make_logs.py"]
]


@pytest.mark.parametrize(
    ("path", "words"),
    SHOWN,
    ids=[f"{path.relative_to(PROJECT)}: {' '.join(words)}"[:120] for path, words in SHOWN],
)
def test_a_shown_command_is_one_that_there_is(path, words):
    check_command(words)


def test_commands_are_found():
    text = (
        "```sh\n$ make quickstart && .venv/bin/python -m lt4rec_tf.train \\\n --seed=2 # 1\n```\n"
    )
    (block,) = FENCE.findall(text)
    assert list(shown_commands(block)) == [
        ["make", "quickstart"],
        [".venv/bin/python", "-m", "lt4rec_tf.train", "--seed=2"],
    ]
    shown = [words for path, words in SHOWN if path.suffix in (".cfg", ".py")]
    assert len([words for words in shown if "lt4rec_tf.train" in words]) > len(FLAGFILES)
    assert len([words for words in shown if "lt4rec_tf.compare" in words]) >= len(COMPARISONS)
    assert [words for words in shown if "lt4rec_tf.simulate_online" in words]


@pytest.mark.parametrize(
    "command",
    [
        "make quickstrat",
        "python benchmarks/absent.py",
        "python -m lt4rec_tf.trian --flagfile=configs/quickstart.cfg",
        "python -m lt4rec_tf.train --flagfile=configs/quikstart.cfg",
        "python -m lt4rec_tf.train --flagfile=configs/quickstart.cfg --epoch=3",
        "python -m lt4rec_tf.train --schema=configs/schemas/absent.toml",
        "python -m lt4rec_tf.evaluate --run=RUN --model=s_weight",
        "python -m lt4rec_tf.evaluate",
        "python -m lt4rec_tf.export --run=RUN --exportdir=DIR",
        "python -m lt4rec_tf.predict --run=RUN --output=DIR",
        "python -m lt4rec_tf.predict --run=RUN --files=*.csv --output=DIR --ids=user_id",
        "python -m lt4rec_tf.data.simulator --dir=DIR --rowz=3",
        "python -m lt4rec_tf.data.inspect --schema_out=mine.toml",
        "python -m lt4rec_tf.data.inspect --files=*.csv --clik=is_click",
        "python -m lt4rec_tf.data.convert --files=*.csv",
        "python -m lt4rec_tf.data.convert --files=*.csv --output_dir=DIR --shard_mb=256",
        "python -m lt4rec_tf.compare --flagfile=configs/compare/smoke.cfg --only=base,nothing",
        "python -m lt4rec_tf.compare --flagfile=configs/compare/smoke.cfg --weighted_task=like",
        "python -m lt4rec_tf.train --flagfile=configs/compare/smoke.cfg",
        "python -m lt4rec_tf.simulate_online --sessions=9",
        "python -m lt4rec_tf.simulate_online --runs=RUN --model=base",
    ],
)
def test_commands_that_there_are_not_are_noticed(command):
    with pytest.raises((AssertionError, ConfigError, SchemaError)):
        check_command(command.split())


def parsed(flagfile):
    """The settings of a flagfile; one for daily training does not say which run it goes on from."""
    goes_on = ["--warm_start=RUN"] if flagfile.stem == "daily" else []
    argv = ["train", "--data_dir=given", f"--flagfile={flagfile}", *goes_on]
    return parse(argv, "")[0]


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_a_flagfile_parses_and_its_schema_loads(path):
    settings = parsed(path)
    schema = run_folder.read_schema(settings.data.schema, settings)
    names = [task.name for task in schema.tasks]
    assert schema.tasks[0].label == "click"
    assert {task.kind for task in schema.tasks} > {"binary"}  # hybrid targets
    if settings.tasks:
        assert names == list(settings.tasks)
    assert settings.name == path.stem
    assert set(loss_weights(settings, names)) == set(names)


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.name)
def test_a_comparison_parses_with_all_its_candidates(path):
    values, grid = check_comparison([f"--flagfile={path}"])
    assert values.name in (path.stem, f"compare_{path.stem}")
    assert values.data.reading == "memory"  # its many trainings would parse the logs anew
    assert all(grid.values())
    for found in grid.values():
        chosen = [tuple(candidate.chosen.items()) for candidate in found]
        assert len(set(chosen)) == len(chosen), "two candidates that reports cannot tell apart"


@pytest.mark.parametrize("path", EMBEDDING_TICKETS, ids=lambda path: path.name)
def test_a_search_for_embedding_tickets_parses(path):
    assert check_embedding_tickets([f"--flagfile={path}"]).name == path.stem


def test_the_models_of_the_comparison_hold_the_papers_table_and_its_rivals():
    specs = read_models(MODELS_FILE, (), ["ctr", "cvr"])
    rivals = [*specs]
    for name in ("hybrid_models.toml", "entire_space_models.toml", "masks_models.toml"):
        rivals += read_models(MODELS_FILE.with_name(name), (), ["ctr", "cvr"])
    assert {spec.model for spec in rivals} == set(MODELS)
    groups = list(dict.fromkeys(spec.group for spec in specs))
    assert groups[:3] == ["Single tasks", "Table 2 of LT4REC", "What a reader would compare with"]
    assert [spec.name for spec in specs if spec.group == groups[1]] == [
        "hard_sharing",
        "s_weight",
        "s_neuron",
        "s_weight_taskbalance",
        "s_weight_gradientconflict",
        "s_weight_multiview",
        "s_weight_biggernet",
        "s_weight_tuning",
    ]
    assert len({(spec.model, spec.task, spec.flags, spec.weights) for spec in specs}) == len(specs)


def test_every_schema_has_a_flagfile():
    used = {Path(parsed(path).data.schema) for path in [*FLAGFILES, *DATA_SETS]}
    for path in [*(PROJECT / "configs" / "compare").glob("buckets_*.cfg"), *PROTOCOLS]:
        used.update(map(Path, re.findall("--schema=(.*)", path.read_text())))
    assert used == {
        path.relative_to(PROJECT) for path in (PROJECT / "configs" / "schemas").glob("*.toml")
    }
