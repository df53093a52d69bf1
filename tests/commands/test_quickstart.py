"""The quickstart outside of a clone: configurations are written first, then it trains."""

import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest

from lt4rec_tf import quickstart
from lt4rec_tf.core.errors import InputError
from tests.support.paths import PROJECT


def files_below(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Which modules were started in an empty folder, with which arguments."""
    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: found.append((name, sys.argv[1:])))
    return found


def test_configurations_are_written_and_the_quickstart_is_trained(started, tmp_path, capsys):
    quickstart.main(["quickstart", "--epochs=1"])
    assert started == [("lt4rec_tf.train", ["--flagfile=configs/quickstart.cfg", "--epochs=1"])]
    expected = files_below(PROJECT / "configs")
    assert files_below(tmp_path / "configs") == expected
    assert capsys.readouterr().out == f"configs/: {len(expected)} configurations written\n"


def test_what_is_there_stays(started, tmp_path, capsys):
    own = tmp_path / "configs" / "quickstart.cfg"
    own.parent.mkdir()
    own.write_text("--epochs=9\n")
    quickstart.main(["quickstart"])
    quickstart.main(["quickstart"])
    assert own.read_text() == "--epochs=9\n"
    assert capsys.readouterr().out.splitlines()[1] == "configs/: 0 configurations written"


def test_a_package_without_configurations_is_told_of(monkeypatch, tmp_path):
    monkeypatch.setattr(quickstart, "__file__", str(tmp_path / "lt4rec_tf" / "quickstart.py"))
    with pytest.raises(InputError, match=r"lt4rec_tf/configs: no such folder"):
        quickstart.write_configurations(tmp_path)


@pytest.mark.slow
def test_a_wheel_holds_all_configurations(tmp_path):
    """Built as pip builds it, from a copy: setuptools leaves folders beside the sources."""
    copy = tmp_path / "sources"
    copy.mkdir()
    for name in ("setup.py", "README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(PROJECT / name, copy)
    for name in ("lt4rec_tf", "configs"):
        shutil.copytree(PROJECT / name, copy / name)
    build = [sys.executable, "setup.py", "-q", "bdist_wheel", f"--dist-dir={tmp_path}"]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        f"lt4rec_tf/configs/{path.as_posix()}" for path in files_below(PROJECT / "configs")
    } <= names
    assert "lt4rec_tf/py.typed" in names
