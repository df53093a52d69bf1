"""The steps of the Dockerfile, run one after another in a folder and a virtual environment."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.paths import PROJECT

INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}
FOLDERS = re.compile(r"(?<=\s)/(?=opt\b|work\b)")  # of the image, in a command


def instructions():
    """Returns the Dockerfile's instructions and what each says, lines joined."""
    text = (PROJECT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def environment(folder):
    """Makes a virtual environment that finds this one's packages, as a cache would hold them."""
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "installed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder / "bin"


class Image:
    """A folder in place of a file system, to which instructions are applied."""

    def __init__(self, root):
        self.root, self.folder = root / "image", root / "image"
        binaries = environment(root / "venv")
        self.variables = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(root)}
        self.variables |= {
            k: v for k, v in os.environ.items() if k.startswith(("PIP_", "OPENBLAS"))
        }
        self.user, self.entrypoint, self.arguments = "", [], []

    def at(self, path):
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def apply(self, instruction, text):
        if instruction == "WORKDIR":
            self.folder = self.at(text)
            self.folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self.copy(*text.split())
        elif instruction == "RUN":
            done = self.run(["sh", "-ec", FOLDERS.sub(f"{self.root}/", text)])
            assert done.returncode == 0, done.stdout + done.stderr
        elif instruction == "ENV":
            name, _, value = text.partition("=")
            self.variables[name] = str(self.at(value))
        elif instruction == "USER":
            self.user = text
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(text)
        elif instruction == "CMD":
            self.arguments = json.loads(text)

    def copy(self, *paths):
        *sources, target = paths
        for source in sources:
            to = self.at(target)
            if (PROJECT / source).is_dir():
                skipped = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / source, to, ignore=skipped)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / source, to)

    def run(self, command):
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *arguments):
        """Runs the image as `docker run` does."""
        return self.run([*self.entrypoint, *(arguments or self.arguments)])


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    built = Image(tmp_path_factory.mktemp("docker"))
    built.root.mkdir()
    for instruction, text in instructions():
        built.apply(instruction, text)
    return built


def test_instructions_are_those_that_are_applied_here():
    found = [name for name, _ in instructions()]
    assert set(found) <= INSTRUCTIONS
    assert found.index("FROM") <= 1
    assert dict(instructions())["ARG"] == "PYTHON=3.11"


def test_the_context_holds_what_is_copied():
    kept = [
        line.lstrip("!").rstrip("/")
        for line in (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = [
        source for name, text in instructions() if name == "COPY" for source in text.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert any(Path(source).match(pattern) for pattern in kept), source


def test_the_image_runs_the_installed_package_as_any_user(image):
    assert image.user.split(":")[0] not in ("", "0", "root")
    assert (image.root / "work").stat().st_mode & 0o777 == 0o777
    assert image.folder == image.root / "work"

    shown = image.start()
    assert shown.returncode == 0, shown.stderr
    assert "usage: lt4rec COMMAND" in shown.stdout
    where = image.run(["python", "-c", "import lt4rec_tf; print(lt4rec_tf.__file__)"])
    assert "site-packages/lt4rec_tf" in where.stdout
    assert str(PROJECT) not in where.stdout


def test_the_image_reads_its_configurations_and_writes_to_the_mounted_folder(image):
    done = image.start("quickstart", "--simulate_rows=2000", "--dry_run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2000 records, 0 without use" in done.stdout
    assert (image.folder / "configs/quickstart.cfg").exists()


def test_commands_of_the_document_are_the_images():
    text = (PROJECT / "docs/docker.md").read_text("utf-8")
    commands = [shlex.split(line) for line in re.findall(r"^docker .+$", text, re.MULTILINE)]
    assert [words[1] for words in commands][:1] == ["build"]
    started = [words[words.index("lt4rec_tf") + 1 :] for words in commands if words[1] == "run"]
    assert {words[0] for words in started} >= {"quickstart", "train"}
