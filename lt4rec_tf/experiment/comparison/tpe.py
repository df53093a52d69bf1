"""Trials that Optuna proposes from those that were scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.comparison.space import Rule, Space

Told = Sequence[tuple[Mapping[str, str], float]]  # a trial's values and its score, more is better


def need_optuna() -> Any:
    """Returns the package.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            f"--tune_sampler: found tpe without the package optuna ({error}), expected "
            "pip install 'lt4rec_tf[tune]', or --tune_sampler=random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def proposed(space: Space, told: Told, seed: int, trial: int) -> dict[str, str]:
    """Proposes a trial by Optuna's tree-structured Parzen estimator.

    Args:
        space: Of a model.
        told: Its trials so far, none of which failed.
        seed: Of the comparison.
        trial: The number of this one; others of the same `told` are drawn otherwise.
    """
    optuna = need_optuna()
    state = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=state, n_startup_trials=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: _distribution(optuna, rule) for name, rule in space.items()}
    for values, score in told:
        params = {name: _number(rule, values[name]) for name, rule in space.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=score)
        )
    found = study.ask(distributions).params
    return {name: _text(rule, found[name]) for name, rule in space.items()}


def _distribution(optuna: Any, rule: Rule) -> Any:
    if rule.choices:
        return optuna.distributions.CategoricalDistribution(rule.choices)
    if rule.whole:
        return optuna.distributions.IntDistribution(int(rule.low), int(rule.high))
    return optuna.distributions.FloatDistribution(rule.low, rule.high, log=rule.log)


def _number(rule: Rule, value: str) -> Any:
    """Returns a value as Optuna takes it; one outside of the range, or rounded, at its end."""
    if rule.choices:
        return value
    number = min(max(float(value), rule.low), rule.high)
    return int(number) if rule.whole else number


def _text(rule: Rule, value: Any) -> str:
    return str(value) if rule.choices or rule.whole else f"{value:.3g}"
