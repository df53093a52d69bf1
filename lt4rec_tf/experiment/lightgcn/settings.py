"""Every setting of a search for tickets in embedding tables, as flags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lt4rec_tf.core.flags import SEEDS, check_fields, expect, expect_folder_name, flag

WAYS = ("ticket", "redrawn", "one_shot", "random", "small", "pep")


@dataclass(frozen=True)
class EmbeddingSettings:
    """Data, model, training and search."""

    name: str = flag("embedding_tickets", "Name of the run's folder, before its fingerprint.")
    data_dir: str = flag(
        "",
        "Folder with train.txt and test.txt, plain or .gz: user item item ...",
        required=True,
        expected="a folder",
    )
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
    validation_fraction: float = flag(
        0.1, "Share of each user's train pairs that validate.", above=0, below=1
    )
    layers: int = flag(3, "Layers of LightGCN; 0: matrix factorisation.", at_least=0)
    embedding_dim: int = flag(64, "Length of a user's and of an item's vector.", at_least=1)
    embedding_stddev: float = flag(0.1, "Spread of the table at the start.", above=0)
    loss: Literal["softmax", "bpr"] = flag(
        "softmax", "softmax: a user's items against all items. bpr: against one drawn for each."
    )
    batch_size: int = flag(4096, "Users of a step with softmax, triples with bpr.", at_least=1)
    score: Literal["inner", "cosine"] = flag(
        "inner", "A pair's score: the inner product of two vectors, or of their directions."
    )
    temperature: float = flag(0.2, "--loss=softmax: what scores are divided by.", above=0)
    learning_rate: float = flag(0.02, "Of Adam.", above=0)
    beta_2: float = flag(
        0.999,
        "Adam: share of the mean of squared gradients that a step keeps, below 1.",
        above=0,
        below=1,
    )
    epsilon: float = flag(
        1e-7,
        "Adam: added to the root of that mean. Keep it below the gradients, which are the smaller "
        "the more triples a step has.",
        above=0,
    )
    l2: float = flag(0.0, "Weight of the squares of a batch's rows.", at_least=0, at_most=math.inf)
    epochs: int = flag(100, "Passes over train of a training, at most.", at_least=1)
    validate_every: int = flag(2, "Passes between two validations.", at_least=1)
    patience: int = flag(
        5,
        "Validations without a better recall that end a training, after its --cooldown; 0: none "
        "do.",
        at_least=0,
    )
    cooldown: int = flag(
        0,
        "Passes that end a training, in which the learning rate falls linearly to 0; they begin "
        "when --patience is at its end, or that many passes before --epochs.",
        at_least=0,
    )
    top_k: int = flag(20, "Length of the lists that are measured.", at_least=1)
    final_density: float = flag(
        0.05, "Share of numbers that the last level keeps.", above=0, below=1
    )
    rounds: int = flag(6, "Prunings, each of the same share; 0: the dense table alone.", at_least=0)
    ways: tuple[str, ...] = flag(
        ("ticket", "redrawn", "one_shot", "random", "small"),
        "What is trained at each density: ticket (iterative magnitude pruning, rewound), redrawn "
        "(the same from a new draw each round), one_shot (cut once, rewound), random (a random "
        "mask), small (fewer dimensions), pep (thresholds that are learned).",
        some_of=WAYS,
    )
    pep_threshold: float = flag(
        -9.0, "--ways=pep: where the logit of the threshold starts; the lower, the later it cuts."
    )
    pep_scale: float = flag(
        30.0,
        "--ways=pep: the largest threshold, above the magnitudes that the table learns.",
        above=0,
    )
    pep_decay: float = flag(
        10.0,
        "--ways=pep: weight of the logit's square, which draws it to half of --pep_scale.",
        at_least=0,
        at_most=math.inf,
    )
    refit: bool = flag(
        True, "Train the dense table and the chosen ticket once more, on validation pairs too."
    )
    seed: int = flag(1, "Of the table, validation pairs, batches and random masks.", **SEEDS)


def check(settings: EmbeddingSettings) -> None:
    """Refuses settings that no search can use.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    check_fields(settings)
    expect_folder_name(settings.name)
    if not settings.dataset:
        expect(not settings.manual_dir, "manual_dir", settings.manual_dir, "nothing, no --dataset")
    expect(
        settings.cooldown <= settings.epochs,
        "cooldown",
        settings.cooldown,
        f"at most --epochs={settings.epochs}",
    )
