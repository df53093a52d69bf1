"""Candidates of `compare --tune_trials`, and which of them are trained for longer.

Successive halving (Jamieson and Talwalkar, arXiv 1502.07943): all trials of a model are trained for
one pass, the best third for three, and so on; the last ones for as long as the model's flags say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.processes import Failure
from lt4rec_tf.experiment.comparison import results, tpe
from lt4rec_tf.experiment.comparison import space as spaces
from lt4rec_tf.experiment.comparison.grid import (
    Candidate,
    CompareFlags,
    Comparison,
    ModelSpec,
    shown_settings,
)
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.training.evaluation import Metrics

KEPT = 3  # of so many trials one goes on, for so many times the passes
WAVES = 3  # parts of the first round with --tune_sampler=tpe: later ones learn from earlier ones
Parse = Callable[[Sequence[str]], Settings]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A candidate and what validation says of it; a failed one has the lowest score.

    Attributes:
        candidate: What was tried.
        failure: Why a tuning seed has no result; None: all have.
        metrics: Tuning seed -> metrics.
        score: Mean over the tuning seeds; more is better.
    """

    candidate: Candidate
    failure: Failure | None
    metrics: Mapping[int, Metrics]
    score: float

    def entry(self) -> dict[str, Any]:
        """Returns the candidate's entry in the report."""
        candidate = self.candidate
        score = results.finite_or_none(self.score)
        entry: dict[str, Any] = {**candidate.chosen, "score": score}
        if candidate.trial is not None:
            entry |= {"trial": candidate.trial + 1, "passes": candidate.passes or None}
        return entry | {"error": self.failure.error} if self.failure else entry

    @property
    def rank(self) -> tuple[bool, float]:
        """What candidates are ordered by: what ended is better than what failed."""
        return self.failure is None, self.score


# Trains candidates of lines with the tuning seeds and scores them.
Attempt = Callable[[Mapping[str, list[Candidate]], str], dict[str, list[Scored]]]


def model_space(spec: ModelSpec, compare: CompareFlags, parse: Parse) -> spaces.Space:
    """Returns what is tuned of a model."""
    if compare.tune_space:
        space = spaces.read_space(Path(compare.tune_space))
    else:
        space = spaces.default_space(compare, parse([f"--models={spec.model}", *spec.flags]))
    return spaces.of_model(space, spec, compare.weighted_task)


def first_trials(spec: ModelSpec, compare: CompareFlags, parse: Parse) -> list[Candidate]:
    """Returns a model's drawn trials, each once: all, or with --tune_sampler=tpe the first wave."""
    count = compare.tune_trials
    if compare.tune_sampler == "tpe":
        tpe.need_optuna()
        count = math.ceil(count / WAVES)
    space = model_space(spec, compare, parse)
    found: list[Candidate] = []
    for trial in range(count):
        values = spaces.drawn(space, compare.seeds[0], trial)
        _add(found, _candidate(spec, values, trial, parse))
    return found


def more_trials(
    spec: ModelSpec, compare: CompareFlags, parse: Parse, tried: Sequence[Scored], numbers: range
) -> list[Candidate]:
    """Returns trials that Optuna proposes, without those that were tried.

    Args:
        spec: The model.
        compare: Names the space.
        parse: More flags -> settings, after those of the command.
        tried: All of the model so far.
        numbers: Of the trials.
    """
    space = model_space(spec, compare, parse)
    told = [
        (scored.candidate.values, scored.score) for scored in tried if math.isfinite(scored.score)
    ]
    found = [scored.candidate for scored in tried]
    for trial in numbers:
        values = tpe.proposed(space, told, compare.seeds[0], trial) if space else {}
        _add(found, _candidate(spec, values, trial, parse))
    return found[len(tried) :]


def _add(found: list[Candidate], candidate: Candidate) -> None:
    """Adds a candidate unless it is there: two would be trained in one folder."""
    if all(candidate.settings != other.settings for other in found):
        found.append(candidate)


def _candidate(spec: ModelSpec, values: Mapping[str, str], trial: int, parse: Parse) -> Candidate:
    """Makes a candidate of a trial's values; the weights of several tasks are one flag."""
    by_flag: dict[str, list[str]] = {}
    for name, value in values.items():
        flag, _, task = name.partition("=")
        by_flag.setdefault(flag, []).append(f"{task}={value}" if task else value)
    tuned = {flag: ",".join(texts) for flag, texts in by_flag.items()}

    flags = [f"--models={spec.model}", *spec.flags]
    settings = parse([*flags, *(f"--{flag}={text}" for flag, text in tuned.items())])
    shown = shown_settings(spec, settings) | tuned
    return Candidate(settings, shown, trial=trial, values=dict(values))


def rungs(most: int) -> list[int]:
    """Returns the passes of each round; 0: as many as the model's flags say.

    Args:
        most: The passes that they say; 0: they leave it to the log's size.

    >>> rungs(1), rungs(3), rungs(9), rungs(0)
    ([0], [1, 0], [1, 3, 0], [1, 0])
    """
    passes = [] if most else [1]
    while most > 1:
        most = max(1, most // KEPT)
        passes.insert(0, most)
    return [*passes, 0]


def passes_of(spec: ModelSpec, settings: Settings) -> int:
    """Returns the most passes that a training of a model takes; 0: by the size of the log."""
    training = settings.training
    search = training.search_epochs or training.epochs
    if spec.task:
        return search
    if not training.epochs or not MODELS[spec.model].needs_tickets:
        return training.epochs
    return max(training.epochs, search)


def halved(comparison: Comparison, parse: Parse, attempt: Attempt) -> list[dict[str, list[Scored]]]:
    """Trains all trials briefly and the best for longer.

    Args:
        comparison: Its grid holds the first trials.
        parse: More flags -> settings, after those of the command.
        attempt: Trains and scores; what it trained before it only scores.

    Returns:
        By round, then by line, what was tried; lines of fewer passes are in fewer rounds.
    """
    passes = {
        spec.name: rungs(passes_of(spec, comparison.grid[spec.name][0].settings))
        for spec in comparison.specs
    }
    rounds = [_first_round(comparison, passes, parse, attempt)]
    while True:
        wanted = {}
        for line, scored in rounds[-1].items():
            if len(rounds) < len(passes[line]):
                best = _best_third(scored)
                wanted[line] = [_shortened(one, passes[line][len(rounds)]) for one in best]
        if not wanted:
            return rounds
        rounds.append(attempt(wanted, f"round {len(rounds) + 1}"))


def _first_round(
    comparison: Comparison, passes: Mapping[str, list[int]], parse: Parse, attempt: Attempt
) -> dict[str, list[Scored]]:
    """Trains the trials of all lines for as long as the first rung, wave by wave."""
    compare = comparison.flags

    def wave(candidates: Mapping[str, list[Candidate]], number: int) -> dict[str, list[Scored]]:
        short = {
            line: [_shortened(candidate, passes[line][0]) for candidate in of_line]
            for line, of_line in candidates.items()
        }
        return attempt(short, f"round 1, part {number}" if number else "round 1")

    if compare.tune_sampler == "random":
        return wave(comparison.grid, 0)

    tried = wave(comparison.grid, 1)
    size = math.ceil(compare.tune_trials / WAVES)
    for number in range(1, WAVES):
        numbers = range(number * size, min((number + 1) * size, compare.tune_trials))
        more = {
            spec.name: more_trials(spec, compare, parse, tried[spec.name], numbers)
            for spec in comparison.specs
        }
        # Those before are scored anew, against the single tasks of all waves.
        failed = {line: [one for one in of if one.failure] for line, of in tried.items()}
        wanted = {
            line: [one.candidate for one in of if not one.failure] + more[line]
            for line, of in tried.items()
        }
        tried = {line: failed[line] + of for line, of in wave(wanted, number + 1).items()}
    return tried


def _best_third(tried: Sequence[Scored]) -> list[Candidate]:
    """Returns the best of those that ended, in their order; of equals the first.

    Where all failed the first goes on, to be the line's failure.
    """
    count = math.ceil(len(tried) / KEPT)
    best = sorted(tried, key=lambda scored: scored.rank, reverse=True)[:count]
    ended = [scored.candidate for scored in best if scored.failure is None]
    return ended or [best[0].candidate]


def _shortened(candidate: Candidate, passes: int) -> Candidate:
    return dataclasses.replace(candidate, passes=passes)
