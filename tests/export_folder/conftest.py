"""Fixtures of the tests that meet the scripts of export/ with strange files and servers."""

import importlib

import pytest

from tests.export_folder.strange_server import ROWS, Server
from tests.serving_stand_in.raw_server import raw_server
from tests.support.paths import PROJECT


@pytest.fixture(scope="module")
def serving():
    server = Server()
    with raw_server(server) as url:
        server.url = url
        yield server


@pytest.fixture
def server(serving):
    serving.reset()
    return serving


@pytest.fixture
def run(server, tmp_path, monkeypatch, capsys):
    """Runs a script about a CSV; returns its exit code, output and errors."""
    monkeypatch.syspath_prepend(str(PROJECT / "export"))
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS)

    def run(script, *flags, csv=path):
        rows = [str(csv)] if script == "client" else [f"--csv={csv}"] if csv else []
        load = [] if script == "client" else ["--warm_up=1", "--max_requests=2", "--json"]
        module = importlib.import_module(script)
        try:
            code = module.main([*rows, *load, f"--url={server.url}", "--timeout=5", *flags])
        except SystemExit as end:  # argparse's
            code = end.code
        return code, *capsys.readouterr()

    return run
