"""All commands under one name."""

import importlib.util
import re
import subprocess
import sys

import pytest

import lt4rec_tf
from lt4rec_tf.__main__ import COMMANDS, main
from lt4rec_tf.core.errors import InputError
from tests.support.paths import PROJECT

STARTS = re.compile(r'^if __name__ == "__main__":\n    (command\.run|sys\.exit)\(', re.MULTILINE)


def test_every_module_that_is_started_has_a_name():
    package = PROJECT / "lt4rec_tf"
    started = set()
    for path in package.rglob("*.py"):
        if STARTS.search(path.read_text(encoding="utf-8")) and path != package / "__main__.py":
            place = path.parent if path.name == "__main__.py" else path.with_suffix("")
            started.add(".".join(place.relative_to(PROJECT).parts))
    assert started == {module for module, _ in COMMANDS.values()}


@pytest.mark.parametrize("module", [module for module, _ in COMMANDS.values()])
def test_every_name_is_a_module_that_can_be_started(module):
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert not spec.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__")


@pytest.mark.parametrize("argv", [["lt4rec"], ["lt4rec", "--help"], ["lt4rec", "help"]])
def test_help_lists_the_commands(argv, capsys):
    main(argv)
    shown = capsys.readouterr().out
    assert shown.splitlines()[2].startswith("usage: lt4rec COMMAND")
    for name, (_, what) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", shown, re.MULTILINE)


def test_the_version_is_that_of_the_package(capsys):
    main(["lt4rec", "--version"])
    assert capsys.readouterr().out == f"lt4rec_tf {lt4rec_tf.__version__}\n"


def test_another_name_is_refused():
    with pytest.raises(
        InputError, match=r"found command 'trian', expected one of quickstart, .*train"
    ):
        main(["lt4rec", "trian"])


def test_a_command_gets_its_flags_and_ends_as_by_its_module():
    command = [sys.executable, "-m", "lt4rec_tf", "evaluate", "--run=nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr == "error: nowhere/config.json: no such file; expected the folder of a run\n"
    )
