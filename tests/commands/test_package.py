"""What importing loads and does, and that the documents name what exists."""

import importlib
import json
import os
import re
import subprocess
import sys

import pytest

import lt4rec_tf
from lt4rec_tf.schema.reader import load_schema
from tests.support.paths import PROJECT


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    ).stdout


def test_importing_the_package_loads_no_tensorflow():
    modules = "lt4rec_tf.config.parse, lt4rec_tf.schema.reader, lt4rec_tf.metrics.binary"
    assert run(f"import sys, {modules}; print('tensorflow' in sys.modules)") == "False\n"


def test_importing_the_api_loads_nothing_that_takes_time():
    code = """
import sys
before = set(sys.modules)
import lt4rec_tf as lt
assert "load_run" in dir(lt) and not hasattr(lt, "absent")
print(sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""
    assert run(code) == "['lt4rec_tf']\n"


def test_a_command_loads_no_keras_3():
    """Which TensorFlow loads unless it is told of tf_keras; a second of every start."""
    command = [sys.executable, "-X", "importtime", "-m", "lt4rec_tf.train", "--help"]
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    loaded = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    modules = {line.rpartition("|")[2].strip() for line in loaded.stderr.splitlines()}
    assert "tf_keras.src" in modules
    assert "keras.src" not in modules


@pytest.mark.slow
def test_importing_every_module_has_no_effect():
    modules = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for path in sorted((PROJECT / "lt4rec_tf").rglob("*.py"))
        if path.name != "__init__.py" and "builders" not in path.parts
    ]
    assert len(modules) > 40
    code = f"""
import logging, os, random, numpy
from tensorflow.python.eager import context
def state():
    root = logging.getLogger()
    return dict(
        random=random.getstate(), numpy=numpy.random.get_state()[1].tolist(), env=dict(os.environ),
        folder=os.getcwd(), handlers=list(root.handlers), level=root.level,
        devices=context.context()._initialized,
    )
before = state()
for module in {modules}:
    __import__(module)
after = state()
print([name for name in before if after[name] != before[name]])
"""
    assert run(code) == "[]\n"


def test_the_version_is_set_ups():
    assert f'version="{lt4rec_tf.__version__}"' in (PROJECT / "setup.py").read_text("utf-8")


@pytest.mark.parametrize("name", ["README.md", "WORKSPACE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_in_the_documents_lead_somewhere(name):
    text = (PROJECT / name).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (PROJECT / target).exists(), f"{name}: {target}"


def test_the_sample_request_asks_for_every_feature_of_the_quickstart():
    schema = load_schema(PROJECT / "configs/schemas/simulated_feed.toml")
    request = json.loads((PROJECT / "export/request.json").read_text("utf-8"))
    for row in request["instances"]:
        assert set(row) == {feature.name for feature in schema.features}


DOCUMENTS = sorted({*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("*/*.md")})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_documents_name_modules_and_files_that_exist(path):
    text = path.read_text("utf-8")
    for name in set(re.findall(r"\blt4rec_tf(?:\.[a-z_0-9]+)+", text)):
        module = PROJECT / name.replace(".", "/")
        of_module = module.parent.with_suffix(".py")  # a function or class, as references name it
        exists = module.exists() or module.with_suffix(".py").exists()
        assert exists or f" {module.name}(" in of_module.read_text("utf-8"), name
    for line in re.findall(r"^from lt4rec_tf.+ import .+$", text, re.MULTILINE):
        _, module, _, *names = line.replace(",", "").split()
        known = vars(importlib.import_module(module))
        assert set(names) <= set(known), line


def test_the_workspace_names_files_that_exist():
    text = (PROJECT / "WORKSPACE.md").read_text("utf-8")
    files = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)", text))
    assert len(files) > 30
    for name in files:
        assert (PROJECT / name).exists() or (PROJECT / "lt4rec_tf" / name).exists(), name


def normalised(name):
    return re.sub("[-_.]+", "-", name).lower()


def hashed(name):
    """Package -> version, of a file that `make hashes` wrote, without those of other platforms."""
    text = (PROJECT / "requirements" / name).read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pattern = r"(\S+)==(\S+)( ; [^\\-]+)?(\s+--hash=sha256:[0-9a-f]{64})+"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), name  # nothing without a hash, and no place to load from
    return {one[1]: one[2] for one in found if "win32" not in (one[3] or "")}


def test_what_make_installs_has_hashes_and_the_versions_of_constraints():
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {normalised(name): version for name, version in (line.split("==") for line in lines)}
    build, run, test = (hashed(f"{name}.txt") for name in ("build", "run", "test"))
    assert {"uv", "cyclonedx-bom"} <= hashed("tools.txt").keys()
    for files in (build, run, test):
        assert files.items() <= pinned.items()
    assert run.items() <= test.items()

    setup = (PROJECT / "setup.py").read_text(encoding="utf-8")
    needed = setup.partition("install_requires=[")[2].partition("],")[0]
    names = re.findall(r'^ +"([A-Za-z0-9._-]+)', needed, re.M)
    assert len(names) > 5
    assert {normalised(name) for name in names} <= run.keys()
