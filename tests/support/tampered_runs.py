"""Changes each file of a finished run in turn: evaluate and export refuse it, or do the same.

    python -m tests.support.tampered_runs 1

The argument is how often each kind of change is made to each file.
"""

import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from lt4rec_tf.core.command import before_tensorflow

before_tensorflow()

from lt4rec_tf import evaluate, export, train  # noqa: E402
from lt4rec_tf.core import artifacts  # noqa: E402
from lt4rec_tf.core.command import exit_on_error  # noqa: E402
from lt4rec_tf.reports.text_tables import markdown_table  # noqa: E402
from tests.support.commands import small  # noqa: E402
from tests.support.tampering import tampered  # noqa: E402

MODELS = "--models=base,hard_sharing,s_weight,small_dense,s_weight_auto"
MORE = (
    "--simulate_rows=1500",
    "--rounds=1",
    "--embedding_density=0.5",
    "--embedding_rounds=1",
    "--calibration=platt",
)
NOT_READ = ("tensorboard", "saved_model", "logs", "evaluation.json", "lock")
KINDS = ("absent", "empty", "half", "a folder", "a byte", "other bytes", "other JSON")


def changed(path: Path, kind: str, rng: random.Random) -> bool:
    """Changes a file; tells if there is such a change of it."""
    content = path.read_bytes()
    if kind == "other JSON":
        if path.suffix != ".json":
            return False
        content = json.dumps(rng.choice(tampered(json.loads(content)))).encode()
    elif kind == "half":
        content = content[: len(content) // 2]
    elif kind == "a byte":
        place = rng.randrange(max(1, len(content)))
        flipped = bytes([content[place] ^ 1 << rng.randrange(8)]) if content else b"\0"
        content = content[:place] + flipped + content[place + 1 :]
    elif kind in ("empty", "other bytes"):
        content = rng.randbytes(200) if kind == "other bytes" else b""
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind != "absent":
        path.write_bytes(content)
    return True


def ended(main, *flags: str) -> tuple[int, str]:
    """Runs a command; 1 and the trace where it ends with one."""
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            code = exit_on_error(main, ["command", *flags])
    except Exception:
        return 1, traceback.format_exc()
    return code, error.getvalue()


def outcome(run: Path, path: Path, expected: object) -> dict[str, str]:
    """Returns by command what a changed file led to."""
    (run / "evaluation.json").unlink(missing_ok=True)
    code, message = ended(evaluate.main, f"--run={run}")
    same = code == 0 and artifacts.read_json(run / "evaluation.json") == expected
    found = {"evaluate": said(code, message, run, path, same=same)}
    with tempfile.TemporaryDirectory() as folder:
        code, message = ended(export.main, f"--run={run}", f"--export_dir={folder}/model")
        same = code == 0 and any(Path(folder, "model").iterdir())
    return found | {"export": said(code, message, run, path, same=same)}


def said(code: int, message: str, run: Path, path: Path, *, same: bool) -> str:
    if code == 0:
        return "as before" if same else "OTHER RESULTS"
    if code == 2:
        # A checkpoint's files are named by their folder.
        named = str(path) in message or (str(path.parent) in message and path.parent != run)
        return "refused by name" if named else f"refused: {message[:300]}"
    return f"TRACE {message[-600:]}"


def main() -> None:
    times, only = int(sys.argv[1]), sys.argv[2:]
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "run")
        for main, flags in [
            (train.main, small(whole, MODELS, *MORE)),
            (evaluate.main, [f"--run={whole}"]),
        ]:
            code, message = ended(main, *flags)
            assert code == 0, message
        expected = artifacts.read_json(whole / "evaluation.json")
        files = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
        files = [p for p in files if p.parts[0] not in NOT_READ and p.suffix != ".png"]
        print(len(files), "files", flush=True)

        run = Path(folder, "changed")
        shutil.copytree(whole, run)
        for name in files:
            if only and not any(word in str(name) for word in only):
                continue
            for kind in KINDS:
                for again in range(times if kind.startswith(("a byte", "other")) else 1):
                    rng = random.Random(f"{name}/{kind}/{again}")
                    if not changed(run / name, kind, rng):
                        continue
                    for command, what in outcome(run, run / name, expected).items():
                        short = what if what in ("as before", "refused by name") else "OTHER"
                        counts.setdefault(command, Counter())[short] += 1
                        if short == "OTHER":
                            print(f"{name}, {kind}, {command}: {what}", flush=True)
                    put_back(whole / name, run / name)
    lines = [[command, what, str(n)] for command, c in counts.items() for what, n in c.items()]
    print(markdown_table(["command", "outcome", "changes"], lines, texts=2))


def put_back(whole: Path, path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copy2(whole, path)


if __name__ == "__main__":
    main()
