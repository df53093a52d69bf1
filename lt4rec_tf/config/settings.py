"""Every setting of a run, as flags: name, type, default, help and range stand in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lt4rec_tf.core.flags import SEEDS, flag

# Models that are trained where none is named.
THOROUGH_MODELS = ("base", "hard_sharing", "s_weight", "s_gates")
FAST_MODELS = ("s_gates",)
DISTRIBUTED_MODELS = ("base", "hard_sharing", "s_weight", "s_weight_auto")
CALIBRATIONS = ("none", "isotonic", "platt", "duration")


@dataclass(frozen=True)
class DataSettings:
    """The logs and their splits."""

    schema: str = flag(
        "",
        "TOML file that says what the logs hold.",
        required=True,
        expected="the path of a schema, a TOML file",
        main=True,
    )
    data_dir: str = flag(
        "",
        "Folder to which the schema's file patterns are relative.",
        required=True,
        expected="the folder of the logs",
        main=True,
    )
    simulate_rows: int = flag(
        0,
        "Write a simulated feed of this many impressions to --data_dir first; 0: real logs.",
        at_least=0,
    )
    simulate_users: int = flag(0, "Simulated: people; 0: one for every 40 impressions.", at_least=0)
    simulate_seed: int = flag(2020, "Seed of the simulated feed.", **SEEDS)
    simulate_click_rate: float = flag(121 / 297, "Share of simulated impressions clicked.")
    simulate_conflict: float = flag(
        1.0, "Simulated: how strongly what raises clicks lowers watching; 0: not at all."
    )
    simulate_purchases: bool = flag(False, "Simulated: some clicks become purchases.")
    simulate_reactions: bool = flag(
        False, "Simulated: some clicked videos are liked, followed, shared and so on."
    )
    simulate_moods: bool = flag(
        False, "Simulated: tastes change within hours too, so that recent clicks tell of them."
    )
    dataset: str = flag(
        "",
        "NAME or NAME/CONFIG: have TensorFlow Datasets prepare this data set below --data_dir "
        "first, and read it; its own splits are --split=files, all rows of them are split anew by "
        "random, or by time with both boundaries.",
    )
    manual_dir: str = flag(
        "",
        "--dataset: folder of the files that must be downloaded by hand; none: downloads/manual "
        "below --data_dir.",
    )
    split: Literal["time", "user", "random", "files", "none"] = flag(
        "time",
        "What separates train, validation and test; random: by rows; none: all rows train, for "
        "--warm_start.",
        main=True,
    )
    validation_from: float | str | None = flag(
        None,
        "Time split: first time of validation, a number as in the schema's time column, or a date "
        "such as 2026-11-25 or 2026-11-25T12:00 (UTC).",
        main=True,
    )
    test_from: float | str | None = flag(
        None, "Time split: first time of test, written as that of --validation_from.", main=True
    )
    validation_fraction: float = flag(
        0.1, "Share of validation where no boundary is given.", at_least=0, below=1
    )
    test_fraction: float = flag(
        0.1, "Share of test where no boundary is given.", at_least=0, below=1
    )
    split_seed: int = flag(1, "Random split: another seed spreads the rows otherwise.", **SEEDS)
    validation_files: tuple[str, ...] = flag((), "Files split: patterns of the validation logs.")
    test_files: tuple[str, ...] = flag((), "Files split: patterns of the test logs.")
    max_bad_fraction: float = flag(
        0.01, "Share of unusable rows above which a run stops.", at_least=0, below=1
    )
    max_duplicate_fraction: float = flag(
        0.1,
        "Share of rows equal to an earlier one, byte for byte, above which a run stops.",
        at_least=0,
        below=1,
    )
    duplicate_rows_remembered: int = flag(
        20_000_000,
        "Different rows of which the audit remembers 8 bytes each, to count those that come again; "
        "of more, it counts among an even share, and says of which.",
        at_least=1,
    )
    shuffle_buffer: int = flag(100_000, "Rows held in memory for shuffling.", at_least=1)
    reading: Literal["stream", "memory"] = flag(
        "stream",
        "stream: logs of any size, parsed anew for each pass. memory: parsed once and kept, for "
        "many trainings on small logs; rows come in another order, so numbers differ.",
    )
    memory_limit_gib: float = flag(
        4.0, "--reading=memory: what the parsed rows may take at most.", above=0
    )


@dataclass(frozen=True)
class ModelSettings:
    """The shape of the network."""

    embedding_dim: int = flag(16, "Length of a field vector.", at_least=1)
    table_dims: tuple[str, ...] = flag(
        (),
        "Embedding tables with shorter rows, as table=length; 0 fills up a field vector. Tables of "
        "--own_embedding keep their task's length.",
    )
    embedding_stddev: float = flag(
        0.001,
        "Spread of the embedding rows at the start; the smaller, the less rare ids disturb.",
        above=0,
    )
    bucket_share: float = flag(
        1.0,
        "Share of the schema's hash buckets to use; the fewer, the more ids share a row.",
        above=0,
        at_most=1,
    )
    field_dropout: float = flag(
        0.0,
        "Share of field vectors that a training step sets to 0, drawn for each row and field; "
        "those of --own_embedding stay.",
        at_least=0,
        below=1,
    )
    tower_dropout: float = flag(
        0.0,
        "Share of a tower's hidden units that a training step sets to 0, drawn for each row; each "
        "task draws its own.",
        at_least=0,
        below=1,
    )
    unknown_dropout: Literal["validation", "none"] = flag(
        "validation",
        "Of fitted vocabularies: training takes known values for unknown at random, so that "
        "unknown ones come as often as in validation; none: it does not.",
    )
    cross: Literal["gram", "triangle", "dcn_v2", "none"] = flag(
        "gram",
        "Cross layer: full Gram matrix (LT4REC), strict triangle (DLRM), DCN-v2; none: the field "
        "vectors alone.",
    )
    dcn_layers: int = flag(2, "Number of DCN-v2 layers.", at_least=1)
    history: Literal["schema", "none", "mean", "attention", "softmax_attention", "transformer"] = (
        flag(
            "schema",
            "Pooling of lists to which candidates attend, whatever the schema says of it; none: "
            "such lists are no features.",
        )
    )
    head: Literal["schema", "plain", "wlr", "d2q", "cread", "ordinal", "cqe", "egmn"] = flag(
        "schema",
        "Head of each task on a ratio or an amount, whatever the schema says of it.",
    )
    attention_units: tuple[int, ...] = flag(
        (36,),
        "Lists with pooling = attention or transformer: widths of the hidden layers by which a "
        "candidate weighs an event.",
        at_least=1,
        required=True,
        expected="widths of 1 or more",
    )
    transformer_blocks: int = flag(1, "Lists with pooling = transformer: blocks.", at_least=1)
    transformer_heads: int = flag(
        2, "Lists with pooling = transformer: attention heads of a block.", at_least=1
    )
    hidden_units: tuple[int, ...] = flag(
        (512, 256, 128),
        "Widths of a tower's masked layers.",
        at_least=1,
        required=True,
        expected="widths of 1 or more",
    )
    own_embedding: tuple[str, ...] = flag(
        (), "Field vectors that one task alone reads, as task=length (LT4REC's multiview)."
    )
    counterfactual_share: float = flag(
        0.5,
        "escm2_ips, escm2_dr: share of the counterfactual risk in the loss of a task on clicks; "
        "the rest is ESMM's.",
        above=0,
        at_most=1,
    )
    mask_penalty: float = flag(
        0.1,
        "mssm: weight of the expected share of its coding variables that are open.",
        at_least=0,
    )
    experts: int = flag(3, "mmoe: number of experts.", at_least=1)
    own_experts: int = flag(1, "ple: experts of each task, per level.", at_least=1)
    shared_experts: int = flag(1, "ple: experts of all tasks, per level.", at_least=1)
    expert_levels: int = flag(2, "ple: number of levels; 1 is CGC.", at_least=1)
    label_embedding: int = flag(
        10,
        "htlnet: length of a predicted label's embedding; 0: labels are not handed on.",
        at_least=0,
    )
    representation: int = flag(
        128, "htlnet: length of the representation handed on; 0: none is handed on.", at_least=0
    )
    fusion: Literal["attention", "concat"] = flag(
        "attention", "htlnet: how what all tasks before hand on becomes one vector."
    )
    transfer_stop: Literal["entry", "output", "none"] = flag(
        "entry",
        "htlnet: where the gradient of later tasks ends: before what is handed on, behind it, or "
        "nowhere.",
    )
    label_noise: bool = flag(True, "htlnet: sample predicted labels in training, by Gumbel noise.")
    label_temperature: float = flag(
        2.0, "htlnet: temperature of the sampling at the start.", above=0
    )
    label_temperature_decay: float = flag(
        0.9,
        "htlnet: factor of the sampling's temperature at each decay.",
        above=0,
        at_most=1,
        expected="a factor in (0, 1]",
    )
    label_temperature_steps: int = flag(
        50, "htlnet: training steps between two decays of the sampling's temperature.", at_least=1
    )
    label_temperature_floor: float = flag(
        0.5, "htlnet: lowest temperature of the sampling.", above=0
    )


@dataclass(frozen=True)
class TicketSettings:
    """The search for tickets and the choice among them (Algorithm 1)."""

    ticket_search: Literal["thorough", "fast"] = flag(
        "thorough",
        "What is trained where --models names nothing. fast: s_gates, whose tickets are learned in "
        "a joint training. thorough: Algorithm 1 (s_weight) and what they are compared with too.",
    )
    ticket_finder: Literal["iterative", "gradual"] = flag(
        "iterative",
        "iterative: Algorithm 1. gradual: one training with TensorFlow Model Optimization.",
    )
    final_density: float = flag(
        0.2,
        "Share of tower weights that the last level keeps.",
        above=0,
        below=1,
        expected="in (0, 1)",
        main=True,
    )
    rounds: int = flag(4, "Number of prunings of the iterative search.", at_least=1)
    rewind: Literal["initial", "step", "reinitialize"] = flag(
        "initial", "What survivors go back to: theta_0, the weights of a step, a fresh draw."
    )
    rewind_step: int = flag(0, "Step of --rewind=step, counted in the dense training.", at_least=0)
    ticket_choice: Literal["best", "best_or_dense", "sparsest"] = flag(
        "best",
        "Which level is the ticket, by validation: the best pruned one, the best of all, or the "
        "sparsest within --choice_tolerance.",
    )
    choice_tolerance: float = flag(
        0.001,
        "--ticket_choice=sparsest: how far below the best, relative to it, a level may lie.",
        at_least=0,
        at_most=math.inf,
        expected=">= 0",
    )
    block_width: int = flag(
        1, "--ticket_finder=gradual: weights are cut in blocks of 1 x this many; 1: one by one."
    )
    pruned_unit: Literal["weight", "neuron"] = flag(
        "weight",
        "What the iterative search and s_gates cut: single weights, or whole neurons, s_gates "
        "inputs of fields and of their products with them.",
    )
    mask_attention: bool = flag(
        False,
        "Each task's ticket also covers the kernels with which candidates attend to what a user "
        "did before: each task pools it by its own. Of single weights, and rows of towers alone.",
    )
    gate_epochs: int = flag(
        0,
        "s_gates: passes over train in which its tickets are learned; 0: up to 4 on a small log, 1 "
        "on a large one.",
        at_least=0,
    )
    cascade_pruned: float = flag(
        0.5,
        "csmf: share of the sum of a layer's magnitudes that pruning takes from a task before the "
        "next one; .5 leaves about a fourth of the weights.",
        at_least=0,
        below=1,
    )
    ticket_score: Literal["magnitude", "movement"] = flag(
        "magnitude",
        "What a weight is kept for: its size, or how far training moved it from where it began.",
    )
    warmup_epochs: int = flag(
        0,
        "Passes of all tasks together, nothing cut, whose result takes theta_0's place in the "
        "searches and in the joint stage (Multi-Task Warm-up of Sparse Sharing); 0: none.",
        at_least=0,
    )
    embedding_density: float = flag(
        1.0,
        "Share of the embedding tables' numbers or rows that a ticket keeps, which is found first "
        "and which all models wear; 1: all. Tables of --own_embedding stay whole.",
        above=0,
        at_most=1,
    )
    embedding_unit: Literal["number", "row", "dimension"] = flag(
        "row",
        "What is cut of embedding tables: single numbers; rows, ids without one share one; "
        "dimensions, table by table. Rows and dimensions make tables smaller in memory.",
    )
    embedding_rounds: int = flag(
        2,
        "Prunings of the embedding tables, each after --search_epochs passes of all tasks.",
        at_least=1,
    )
    ticket_control: Literal["none", "shuffle", "one_shot", "draw", "reinitialize"] = flag(
        "none",
        "What s_weight wears in place of its tickets: the same densities in random places, the "
        "dense weights cut at once, theta_0 cut at once by size; or the tickets, worn from a fresh "
        "draw.",
    )


@dataclass(frozen=True)
class TrainingSettings:
    """The training of one stage."""

    batch_size: int = flag(512, "Rows of a batch.", at_least=1, main=True)
    search_epochs: int = flag(
        0, "Passes over train for each level of a ticket search; 0: as --epochs.", at_least=0
    )
    search_processes: int = flag(
        1,
        "Ticket searches that run side by side, each in a process with its share of the cores.",
        at_least=1,
    )
    epochs: int = flag(
        0,
        "Passes over train for each model. 0: by the size of train: up to 6 on a "
        "small one, with a --patience of 1 and --rewind_tables=2; 1 on a large one, and with "
        "--warm_start.",
        at_least=0,
        main=True,
    )
    patience: int = flag(
        0,
        "Stop after this many epochs without a better one; 0: never, or 1 with --epochs=0.",
        at_least=0,
    )
    rewind_tables: int = flag(
        0,
        "Epochs after which embedding tables go back to where the stage began, while all other "
        "weights go on, so that rare ids are not learned by heart; --patience then counts such "
        "spans. 0: never, or 2 with --epochs=0 and without --distribution.",
        at_least=0,
    )
    optimizer: Literal["adam", "adagrad"] = flag(
        "adam",
        "Optimizer of all weights; of embedding tables it updates the rows that a batch touched.",
    )
    learning_rate: float = flag(0.001, "Step size.", above=0, main=True)
    embedding_optimizer: Literal["same", "adam", "adam_by_row", "adagrad", "rowwise_adagrad"] = (
        flag(
            "adagrad",
            "Optimizer of the embedding tables; same: that of --optimizer. adam_by_row counts the "
            "steps of each row; "
            "rowwise_adagrad has one step size for all numbers of a row.",
        )
    )
    embedding_learning_rate: float = flag(
        0.0,
        "Step size of the embedding tables; 0: --learning_rate with same, adam and adam_by_row, 20 "
        "times as much with adagrad and rowwise_adagrad.",
        at_least=0,
    )
    learning_rate_decay: Literal["none", "linear", "cosine"] = flag(
        "none", "How step sizes fall over the passes of a stage: not at all, or to 0 at its end."
    )
    learning_rate_warmup: int = flag(
        0, "Steps over which step sizes rise from 0 at a stage's beginning; 0: none.", at_least=0
    )
    embedding_l2: float = flag(
        0.0, "Weight of the squares of the embedding rows that a batch looks up.", at_least=0
    )
    weight_decay: float = flag(
        0.0,
        "--optimizer=adam: share of step size by which kernels shrink at a step (AdamW); weights "
        "cut for all tasks stay.",
        at_least=0,
    )
    clip_norm: float = flag(
        0.0, "Norm of all gradients together to which larger ones are scaled; 0: any.", at_least=0
    )
    label_smoothing: float = flag(
        0.0,
        "Share s of which the labels of binary tasks become (1 - s) y + s / 2 in the cross entropy "
        "of training.",
        at_least=0,
        below=1,
    )
    weight_average: float = flag(
        0.0,
        "Share of a moving average of all weights that a step keeps, such as .98; the average is "
        "what is measured and kept. 0: none.",
        at_least=0,
        below=1,
    )
    task_schedule: Literal["alternate", "both"] = flag(
        "both", "Joint stage: one task a batch in turn (as published), or all on every batch."
    )
    loss_weights: tuple[str, ...] = flag(
        (), "Weights of Eq. 2 as task=weight; a task that is not named has weight 1."
    )
    balance: Literal["none", "pcgrad", "gradnorm", "uncertainty", "metabalance", "htlnet"] = flag(
        "none",
        "Joint stage: how the tasks' losses or gradients are balanced beyond Eq. 2; metabalance "
        "and htlnet favour the last task.",
    )
    core_projection: float = flag(
        1.0,
        "--balance=htlnet: share of what conflicts with the last task's gradient that is cut.",
        at_least=0,
        at_most=1,
    )
    core_relaxation: float = flag(
        0.1,
        "--balance=htlnet: how far gradients grow or shrink to the last task's norm.",
        at_least=0,
        at_most=1,
    )
    core_clip: float = flag(
        10.0, "--balance=htlnet: largest ratio of two norms that counts.", at_least=1
    )
    gradient_conflict: bool = flag(
        False,
        "Joint stage: weigh clicked, hardly watched rows as LT4REC's gradientconflict does.",
    )
    conflict_cvr_weight: float = flag(
        5.0, "--gradient_conflict: weight of CVR on clicked, hardly watched rows.", above=0
    )
    conflict_ctr_weight: float = flag(
        0.2, "--gradient_conflict: weight of CTR on clicked, hardly watched rows.", above=0
    )
    conflict_long_video: float = flag(
        60.0,
        "--gradient_conflict: seconds above which a video is long.",
        at_least=0,
        at_most=math.inf,
    )
    conflict_long_ratio: float = flag(
        0.1,
        "--gradient_conflict: watch ratio below which a long video is hardly watched.",
        at_least=0,
        at_most=1,
        expected="a watch ratio in [0, 1]",
    )
    conflict_short_ratio: float = flag(
        0.2,
        "--gradient_conflict: watch ratio below which a video that is not long is hardly watched.",
        at_least=0,
        at_most=1,
        expected="a watch ratio in [0, 1]",
    )
    auto_trainings: int = flag(
        8, "s_weight_auto: joint trainings among which validation chooses.", at_least=1
    )
    precision: Literal["float32", "bfloat16", "auto"] = flag(
        "float32",
        "In which a stage's matrix products are computed; auto: bfloat16 where this machine has it "
        "at least 1.5 times as fast.",
    )
    distribution: Literal["none", "mirrored", "multi_worker", "parameter_server"] = flag(
        "none",
        "Where a step is computed: here; on all GPUs of this machine; by the workers of TF_CONFIG, "
        "who take each step together; or by workers on their own, with variables on servers.",
    )
    shard_mib: float = flag(
        64.0,
        "parameter_server: MiB of a table on one server before it is spread over more.",
        above=0,
    )
    calibration: tuple[str, ...] = flag(
        (),
        "What turns predictions of a trained model into calibrated ones, fitted on validation: "
        "none, isotonic, platt, or duration, an isotonic map for each of up to eight groups of "
        "durations, which changes the order between them. For some tasks, as task=method.",
    )
    checkpoint_steps: int = flag(
        500, "Steps between two checkpoints within an epoch; 0: none.", at_least=0
    )


@dataclass(frozen=True)
class DailySettings:
    """Earlier runs from which a run continues (docs/daily.md)."""

    warm_start: str = flag(
        "",
        "Run whose models the models of the same names go on from: weights, vocabularies and, "
        "where they are kept, the optimizer's moments. The logs are a new day, which is measured "
        "first.",
        main=True,
    )
    masks: str = flag(
        "",
        "Run whose tickets the models of the same names wear, in place of a search; none: with "
        "--warm_start, those of that run.",
    )
    add_to: str = flag(
        "",
        "Run to whose network new tasks are added: --tasks names its tasks and the new ones, "
        "--models one of its models; none: the exported one. What its tasks wear stays bit for "
        "bit.",
    )
    frozen: str = flag(
        "",
        "With --warm_start: a run that is measured on the day too, and not updated, to see what "
        "daily training brings.",
    )
    grow_vocabularies: int = flag(
        0,
        "With --warm_start: unknown values that a day holds at least so many times join their "
        "vocabulary; 0: none does.",
        at_least=0,
    )
    retrain_day: bool = flag(
        False, "With --warm_start: accept logs that the chain was trained on, or earlier ones."
    )


@dataclass(frozen=True)
class Settings:
    """What is trained, and all other settings of a run."""

    data: DataSettings
    model: ModelSettings
    tickets: TicketSettings
    training: TrainingSettings
    daily: DailySettings
    name: str = flag("run", "Name of the run's folder, before its fingerprint.", main=True)
    tasks: tuple[str, ...] = flag(
        (), "Tasks of the schema to train, in order; none: all.", main=True
    )
    models: tuple[str, ...] = flag(
        THOROUGH_MODELS,
        "Models to train and compare; none named: those of --ticket_search.",
        required=True,
        main=True,
        alias="rows",
    )
    seed: int = flag(1, "Seed of initialisation and shuffling.", **SEEDS, main=True)


@dataclass(frozen=True)
class Places:
    """The folder of a run; not part of its fingerprint."""

    output_dir: str = flag("runs", "Folder that holds the runs.")
    run_dir: str = flag(
        "", "Exact folder of this run, in place of one below --output_dir.", main=True
    )
