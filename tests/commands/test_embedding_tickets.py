"""A search for tickets in an embedding table, from two small files to the table and the picture."""

import json

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf import embedding_tickets
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.experiment.lightgcn.procedure import read_pairs
from lt4rec_tf.experiment.lightgcn.search import Trained, winning
from lt4rec_tf.experiment.lightgcn.settings import EmbeddingSettings
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.masks import read_masks
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.stage import TrainingError
from tests.support.paths import PROJECT
from tests.support.training import Killed

pytestmark = pytest.mark.slow(minutes=1)
GROUPS, USERS, ITEMS, DIMENSION, ROUNDS, DENSITY = 3, 48, 36, 6, 2, 0.3
NUMBERS = (USERS + ITEMS) * DIMENSION
FLAGS = (
    f"--embedding_dim={DIMENSION}", f"--rounds={ROUNDS}", f"--final_density={DENSITY}",
    "--epochs=6", "--validate_every=2", "--batch_size=20", "--top_k=5", "--layers=1",
    "--learning_rate=0.05", "--cooldown=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Users like items of their own third, and some others."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    train, test = [], []
    for user in range(USERS):
        own = rng.permutation(np.arange(user % GROUPS, ITEMS, GROUPS))[:9]
        other = rng.integers(0, ITEMS, 2)
        train.append(" ".join(map(str, [user, *own[:6], *other])))
        test.append(" ".join(map(str, [user, *own[6:]])))
    (folder / "train.txt").write_text("\n".join(train))
    (folder / "test.txt").write_text("\n".join(test))
    return folder


def run(data_dir, run_dir, *more):
    command = ["embedding_tickets", f"--data_dir={data_dir}", f"--run_dir={run_dir}", *FLAGS, *more]
    return exit_on_error(embedding_tickets.main, command)


def rows_of(run_dir):
    rows = json.loads((run_dir / "evaluation.json").read_text())["rows"]
    return {(row["way"], row["level"]): row for row in rows}


@pytest.fixture(scope="module")
def unbroken(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "seed_1"
    assert run(data_dir, folder) == 0
    return folder


def mask_of(folder, way, level, dimension=DIMENSION):
    path = folder / way / f"level_{level}" / "masks.npz"
    return read_masks(path, {"table": (USERS + ITEMS, dimension)})["table"]


def history_of(folder, *way):
    return json.loads((folder.joinpath(*way) / "training" / "history.json").read_text())


def draw_of(shape):
    return np.random.default_rng([1, 0, *b"table"]).normal(0, 0.1, shape).astype(np.float32)


def table_of(folder, *way):
    table = tf.Variable(tf.zeros((USERS + ITEMS, DIMENSION)))
    checkpoint.restore(folder.joinpath(*way) / "training" / "table", {"table": table})
    return table.numpy()


def test_every_way_is_measured_at_every_density(unbroken):
    rows = rows_of(unbroken)
    ways = ("ticket", "redrawn", "one_shot", "random", "small")
    assert {key for key in rows if "refitted" not in key[0]} == {
        ("dense", 0), *((way, level) for way in ways for level in (1, 2))
    }  # fmt: skip
    for (way, level), row in rows.items():
        if way != "small" and "refitted" not in way:
            assert row["parameters"] == alive_at_level(NUMBERS, DENSITY, ROUNDS, level)
            assert row["density"] == row["parameters"] / NUMBERS
        assert 0 < row["test"]["recall"] <= 1
        assert 0 < row["test"]["ndcg"] <= 1
    assert rows["small", 2]["parameters"] == (USERS + ITEMS) * 2
    # a third of the items has what a user likes: by chance a list of 5 finds .14 of 3
    assert rows["dense", 0]["test"]["recall"] > 0.3


def test_masks_are_those_of_the_definitions(unbroken):
    first, second = mask_of(unbroken, "ticket", 1), mask_of(unbroken, "ticket", 2)
    assert not (second & ~first).any()
    dense = np.abs(table_of(unbroken, "dense"))
    assert dense[first].min() >= dense[~first].max()
    below = np.abs(table_of(unbroken, "ticket", "level_1"))
    assert below[second].min() >= below[first & ~second].max()
    at_once = mask_of(unbroken, "one_shot", 2)
    assert dense[at_once].min() >= dense[~at_once].max()
    assert (mask_of(unbroken, "random", 2) != second).any()
    assert (mask_of(unbroken, "redrawn", 2) != second).any()


def test_what_is_cut_stays_0_and_the_rest_was_trained(unbroken):
    mask, table = mask_of(unbroken, "ticket", 2), table_of(unbroken, "ticket", "level_2")
    assert not table[~mask].any()
    start = draw_of(table.shape)
    assert (table[mask] != start[mask]).mean() > 0.9
    assert np.corrcoef(table[mask], start[mask])[0, 1] > 0.5  # which is where it began


def test_the_run_prints_its_data_and_its_table_and_draws(unbroken, data_dir, capsys):
    assert run(data_dir, unbroken) == 0  # all is done: nothing is trained again
    printed = capsys.readouterr()
    assert "48 users, 36 items" in printed.out
    assert "pairs that come twice" in printed.out
    assert "| one_shot | " in " ".join(printed.out.split())
    assert "| recall@5 | NDCG@5 |" in " ".join(printed.out.split())
    assert "epoch" not in printed.err
    assert (unbroken / "embedding_tickets.png").read_bytes()[:4] == b"\x89PNG"
    events = {path.parent for path in (unbroken / "tensorboard").rglob("*tfevents*")}
    shown = {str(folder.relative_to(unbroken / "tensorboard")) for folder in events}
    assert {"dense", "ticket/level_1", "ticket/level_2", "random/level_2"} <= shown


def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(
    unbroken, data_dir, tmp_path, monkeypatch
):
    count, left = Progress.step, 0

    def killed(self, *arguments):
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        count(self, *arguments)

    folder = tmp_path / "seed_1"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", killed)
        for left in (3, 20, 21, 23, 36):  # noqa: B007
            with pytest.raises(Killed):
                run(data_dir, folder)
    assert run(data_dir, folder) == 0
    seconds = {"seconds": None}
    assert {key: row | seconds for key, row in rows_of(folder).items()} == {
        key: row | seconds for key, row in rows_of(unbroken).items()
    }
    for level in (1, 2):
        same = [
            (at / "ticket" / f"level_{level}" / "masks.npz").read_bytes()
            for at in (folder, unbroken)
        ]
        assert same[0] == same[1]


@pytest.mark.parametrize(
    "flags",
    [("--layers=0", "--loss=bpr", "--l2=0.0001"), ("--score=cosine", "--temperature=0.1")],
    ids=["matrix factorisation by bpr", "cosine"],
)
def test_other_models_and_losses_learn(data_dir, tmp_path, flags):
    folder = tmp_path / "seed_1"
    assert run(data_dir, folder, *flags, "--rounds=0", "--epochs=40", "--norefit") == 0
    assert [*rows_of(folder)] == [("dense", 0)]
    assert rows_of(folder)["dense", 0]["test"]["recall"] > 0.3


def test_a_learned_threshold_makes_masks_of_what_it_left(data_dir, tmp_path):
    folder = tmp_path / "seed_1"
    more = ("--ways=pep", "--pep_threshold=-2.5", "--epochs=30", "--final_density=0.5", "--norefit")
    assert run(data_dir, folder, *more, "--pep_scale=1") == 0
    rows = rows_of(folder)
    assert [("pep", level) for level in (1, 2)] == [key for key in rows if key[0] == "pep"]
    history = json.loads((folder / "pep" / "threshold" / "history.json").read_text())
    assert history["epochs"] < 30  # nothing is left to find
    last = alive_at_level(NUMBERS, 0.5, ROUNDS, ROUNDS)
    assert history["history"][-1]["density"] <= last / NUMBERS
    for (way, level), row in rows.items():
        if way == "pep":
            kept = mask_of(folder, "pep", level)
            assert (
                0 < row["parameters"] == kept.sum() <= alive_at_level(NUMBERS, 0.5, ROUNDS, level)
            )
            assert not table_of(folder, "pep", f"level_{level}")[~kept].any()


def test_the_decay_of_its_logit_raises_a_threshold(data_dir, tmp_path):
    left = []
    for decay in (0, 1):
        folder = tmp_path / f"decay_{decay}"
        more = (f"--pep_decay={decay}", "--pep_threshold=-6", "--pep_scale=10", "--epochs=40")
        assert run(data_dir, folder, *more, "--ways=pep", "--rounds=1", "--norefit") == 0
        history = json.loads((folder / "pep" / "threshold" / "history.json").read_text())
        left.append(history["history"][-1]["density"])
    assert left[1] < 0.6
    assert left[0] > 0.9


def test_a_threshold_that_cuts_too_little_leaves_its_levels_out(data_dir, tmp_path, capsys):
    more = ("--ways=pep", "--pep_threshold=-30", "--norefit")
    assert run(data_dir, tmp_path / "seed_1", *more) == 0
    assert [*rows_of(tmp_path / "seed_1")] == [("dense", 0)]
    assert "pep has no row for level 1, 2: after 6 passes its threshold left" in (
        capsys.readouterr().out
    )


def test_a_threshold_that_cuts_all_at_once_ends_and_says_so(data_dir, tmp_path, capsys):
    more = ("--ways=pep", "--pep_threshold=0", "--norefit")
    assert run(data_dir, tmp_path / "seed_1", *more) == 0
    assert "level 1, 2: after 1 passes its threshold left 0.000 of the numbers. A lower" in (
        capsys.readouterr().out
    )


def test_patience_ends_a_training(data_dir, tmp_path):
    folder = tmp_path / "seed_1"
    more = ("--rounds=0", "--epochs=400", "--patience=2", "--cooldown=0", "--norefit")
    assert run(data_dir, folder, *more) == 0
    history = history_of(folder, "dense")
    assert history["epochs"] == history["best_epoch"] + 4 < 400  # two validations of two passes
    recalls = [record["validation"]["recall"] for record in history["history"]]
    assert history["validation"]["recall"] == max(recalls)


def rates_of(history):
    return [record["learning_rate"] for record in history["history"]]


def test_patience_begins_the_cooldown(data_dir, tmp_path):
    folder = tmp_path / "seed_1"
    more = ("--rounds=0", "--epochs=400", "--patience=2", "--cooldown=3", "--validate_every=1")
    assert run(data_dir, folder, *more) == 0
    history = history_of(folder, "dense")
    assert history["epochs"] < 400
    rates = [0.05] * (history["epochs"] - 3) + [0.0375, 0.025, 0.0125]
    assert rates_of(history) == pytest.approx(rates)
    cooled = history["cooldown"]
    assert cooled == max(0, history["best_epoch"] - (history["epochs"] - 3))
    again = rates_of(history_of(folder, "refit", "dense"))  # as long as was best
    fall = [0.05 * left / (cooled + 1) for left in range(cooled, 0, -1)]
    assert again == pytest.approx([0.05] * (history["best_epoch"] - cooled) + fall)


def test_the_last_passes_take_smaller_steps(data_dir, tmp_path):
    folder = tmp_path / "seed_1"
    more = ("--rounds=0", "--epochs=1", "--cooldown=1", f"--batch_size={USERS}", "--norefit")
    assert run(data_dir, folder, *more) == 0
    table = table_of(folder, "dense")
    moved = np.abs(table - draw_of(table.shape))
    # Adam's first step is the learning rate, less where a gradient is hardly above epsilon.
    assert moved.max() == pytest.approx(0.05 / 2, rel=0.01)


def test_adams_first_step_tells_its_constants(data_dir, tmp_path):
    found = []
    for beta_2, epsilon in [(0.9, 1e-4), (0.99, 1e-3)]:
        folder = tmp_path / str(beta_2)
        more = ("--rounds=0", "--epochs=1", "--cooldown=0", f"--batch_size={USERS}", "--norefit")
        constants = (f"--beta_2={beta_2}", f"--epsilon={epsilon}")
        assert run(data_dir, folder, *more, *constants) == 0
        table = table_of(folder, "dense")
        moved = np.abs(table - draw_of(table.shape)) / 0.05
        # moved = a / (a + epsilon) with a = sqrt(1 - beta_2) |gradient|
        found.append(moved / (1 - moved) * epsilon / np.sqrt(1 - beta_2))
    assert found[0].max() > 1e-3
    np.testing.assert_allclose(*found, rtol=0.001, atol=1e-8)


def test_a_run_of_other_settings_or_pairs_is_refused(unbroken, data_dir, tmp_path, capsys):
    assert run(data_dir, unbroken, "--seed=2") == 2
    assert "settings.seed: was 1, is 2" in capsys.readouterr().err
    for name in ("train.txt", "test.txt"):
        text = (data_dir / name).read_text()
        (tmp_path / name).write_text(text.rpartition("\n")[0])
    assert run(tmp_path, unbroken) == 2
    assert "pairs.train: was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--final_density=1.5", "--final_density: found 1.5, expected a share in (0, 1)"),
        ("--ways=ticket,luck", "--ways: found ('ticket', 'luck'), expected some of"),
        ("--temperature=0", "--temperature: found 0.0, expected a number above 0"),
        ("--pep_scale=0", "--pep_scale: found 0.0, expected a number above 0"),
        ("--pep_decay=-1", "--pep_decay: found -1.0, expected 0 or more"),
        ("--beta_2=1", "--beta_2: found 1.0, expected a share in (0, 1)"),
        ("--epsilon=0", "--epsilon: found 0.0, expected a number above 0"),
        ("--seed=-1", "--seed: found -1, expected a whole number from 0 to 2^63 - 1"),
        ("--cooldown=7", "--cooldown: found 7, expected at most --epochs=6"),
        ("--data_dir=", "--data_dir: found '', expected a folder"),
    ],
)
def test_unusable_flags_are_refused(data_dir, tmp_path, capsys, flag, message):
    assert run(data_dir, tmp_path, flag) == 2
    assert message in capsys.readouterr().err


def test_a_share_that_leaves_nothing_to_validate_on_is_refused(data_dir, tmp_path, capsys):
    assert run(data_dir, tmp_path / "seed_1", "--validation_fraction=0.01") == 2
    assert "--validation_fraction: found 0.01, which takes no pair" in capsys.readouterr().err


def test_a_training_that_diverges_says_so(data_dir, tmp_path, capsys):
    assert run(data_dir, tmp_path / "seed_1", "--learning_rate=1e38") == 2
    assert "a smaller --learning_rate usually helps" in capsys.readouterr().err
    assert issubclass(TrainingError, InputError)


def trained(way, density, recall):
    history = {"validation": {"recall": recall}}
    return Trained(way, int(way != "dense"), 4, 10, density, history, PROJECT)


def test_the_sparsest_ticket_as_good_as_dense_wins():
    dense = trained("dense", 1.0, 0.2)
    tickets = [
        trained("ticket", 0.5, 0.21),
        trained("ticket", 0.3, 0.2),
        trained("ticket", 0.1, 0.19),
    ]
    assert winning([dense, *tickets, trained("random", 0.1, 0.3)]) is tickets[1]
    assert winning([dense, tickets[2]]) is dense


def test_a_named_data_set_is_read_as_its_files_are(tmp_path, capsys):
    made_up = PROJECT / "lt4rec_tf/data/public/builders/implicit_feedback/dummy_data"
    named = EmbeddingSettings(
        data_dir=str(tmp_path), dataset="implicit_feedback/gowalla", manual_dir=str(made_up)
    )
    split = read_pairs(named)
    files = read_pairs(EmbeddingSettings(data_dir=str(made_up / "gowalla")))
    np.testing.assert_array_equal(split.train.keys, files.train.keys)
    np.testing.assert_array_equal(split.test.keys, files.test.keys)
    assert split.train.users == files.train.users == 3
    assert "published are other numbers" in capsys.readouterr().out
