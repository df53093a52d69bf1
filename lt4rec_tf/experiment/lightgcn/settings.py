"""Every setting of a search for tickets in embedding tables, as flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lt4rec_tf.core.flags import expect, expect_at_least, expect_folder_name, expect_positive, flag

WAYS = ("ticket", "redrawn", "one_shot", "random", "small", "pep")


@dataclass(frozen=True)
class EmbeddingSettings:
    """Data, model, training and search."""

    name: str = flag("embedding_tickets", "Name of the run's folder, before its fingerprint.")
    data_dir: str = flag("", "Folder with train.txt and test.txt, plain or .gz: user item item ...")
    dataset: str = flag(
        "",
        "implicit_feedback/CONFIG: have TensorFlow Datasets prepare it below --data_dir first, and "
        "read it.",
    )
    manual_dir: str = flag(
        "",
        "--dataset: folder of the files that must be downloaded by hand; none: downloads/manual "
        "below --data_dir.",
    )
    validation_fraction: float = flag(0.1, "Share of each user's train pairs that validate.")
    layers: int = flag(3, "Layers of LightGCN; 0: matrix factorisation.")
    embedding_dim: int = flag(64, "Length of a user's and of an item's vector.")
    embedding_stddev: float = flag(0.1, "Spread of the table at the start.")
    loss: Literal["softmax", "bpr"] = flag(
        "softmax", "softmax: a user's items against all items. bpr: against one drawn for each."
    )
    batch_size: int = flag(4096, "Users of a step with softmax, triples with bpr.")
    score: Literal["inner", "cosine"] = flag(
        "inner", "A pair's score: the inner product of two vectors, or of their directions."
    )
    temperature: float = flag(0.2, "--loss=softmax: what scores are divided by.")
    learning_rate: float = flag(0.02, "Of Adam.")
    beta_2: float = flag(
        0.999, "Adam: share of the mean of squared gradients that a step keeps, below 1."
    )
    epsilon: float = flag(
        1e-7,
        "Adam: added to the root of that mean. Keep it below the gradients, which are the smaller "
        "the more triples a step has.",
    )
    l2: float = flag(0.0, "Weight of the squares of a batch's rows.")
    epochs: int = flag(100, "Passes over train of a training, at most.")
    validate_every: int = flag(2, "Passes between two validations.")
    patience: int = flag(
        5,
        "Validations without a better recall that end a training, after its --cooldown; 0: none "
        "do.",
    )
    cooldown: int = flag(
        0,
        "Passes that end a training, in which the learning rate falls linearly to 0; they begin "
        "when --patience is at its end, or that many passes before --epochs.",
    )
    top_k: int = flag(20, "Length of the lists that are measured.")
    final_density: float = flag(0.05, "Share of numbers that the last level keeps.")
    rounds: int = flag(6, "Prunings, each of the same share; 0: the dense table alone.")
    ways: tuple[str, ...] = flag(
        ("ticket", "redrawn", "one_shot", "random", "small"),
        "What is trained at each density: ticket (iterative magnitude pruning, rewound), redrawn "
        "(the same from a new draw each round), one_shot (cut once, rewound), random (a random "
        "mask), small (fewer dimensions), pep (thresholds that are learned).",
    )
    pep_threshold: float = flag(
        -9.0, "--ways=pep: where the logit of the threshold starts; the lower, the later it cuts."
    )
    pep_scale: float = flag(
        30.0, "--ways=pep: the largest threshold, above the magnitudes that the table learns."
    )
    pep_decay: float = flag(
        10.0, "--ways=pep: weight of the logit's square, which draws it to half of --pep_scale."
    )
    refit: bool = flag(
        True, "Train the dense table and the chosen ticket once more, on validation pairs too."
    )
    seed: int = flag(1, "Of the table, validation pairs, batches and random masks.")


def check(settings: EmbeddingSettings) -> None:
    """Refuses settings that no search can use.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    expect(settings.data_dir != "", "data_dir", settings.data_dir, "a folder")
    if not settings.dataset:
        expect(not settings.manual_dir, "manual_dir", settings.manual_dir, "nothing, no --dataset")
    for name in ("validation_fraction", "final_density", "beta_2"):
        value = getattr(settings, name)
        expect(0 < value < 1, name, value, "a share in (0, 1)")
    expect_at_least(1, settings, "embedding_dim", "batch_size", "epochs", "validate_every", "top_k")
    expect_at_least(0, settings, "layers", "l2", "patience", "cooldown", "rounds", "pep_decay")
    expect(
        settings.cooldown <= settings.epochs,
        "cooldown",
        settings.cooldown,
        f"at most --epochs={settings.epochs}",
    )
    for name in ("embedding_stddev", "temperature", "learning_rate", "epsilon", "pep_scale"):
        expect_positive(settings, name)
    expect(set(settings.ways) <= set(WAYS), "ways", settings.ways, f"some of {WAYS}")
    expect_folder_name(settings.name)
