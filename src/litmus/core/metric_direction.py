"""Whether higher or lower values of a metric are better."""

import math
import re
from collections.abc import Mapping
from typing import Any

from litmus.errors import ConfigError, closest

MODES = ("max", "min")
OWN = ("val/acc", "val/loss", "train/acc", "train/loss", "train/cost", "gap/acc")
# By the last word of a name that says more than how it was averaged: val/f1, val/macro_f1, val/f1_macro, val/top5_acc.
HIGHER = frozenset(
    [
        "acc",
        "accuracy",
        "precision",
        "recall",
        "sensitivity",
        "specificity",
        "f1",
        "fbeta",
        "auc",
        "auroc",
        "auprc",
        "ap",
        "map",
        "kappa",
        "mcc",
        "iou",
        "miou",
        "jaccard",
        "dice",
        "r2",
    ]
)
LOWER = frozenset(
    ["loss", "cost", "error", "err", "ece", "mse", "rmse", "mae", "nll", "perplexity", "brier", "gap", "penalty"]
)
AVERAGES = re.compile(r"macro|micro|weighted|mean|avg|average|epoch|score|rate|top\d+|\d+")
NEGATED = frozenset(("neg", "negative", "inv", "inverse", "minus", "delta", "diff", "not", "no"))


def known_mode(name: str) -> str | None:
    """`max` or `min` if the name of the metric implies it, otherwise None."""
    if name.startswith("gap/"):
        return "min"
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    if not NEGATED.isdisjoint(words):
        return None
    ending = next((word for word in reversed(words) if not AVERAGES.fullmatch(word)), "")
    return "max" if ending in HIGHER else "min" if ending in LOWER else None


def mode(name: str, given: str | None = None, option: str = "objective_mode") -> str:
    """`given` (max or min), or if it is None, what the name of the metric implies.

    Raises ConfigError, which asks for `option`, if the name does not imply it.
    """
    if given is not None:
        if given not in MODES:
            raise ConfigError(f"{option} is {given!r}, and must be max or min")
        return given
    known = known_mode(name)
    if known is None:
        near = closest(name, OWN)
        hint = f"did you mean {near}? If not, set" if near else "set"
        raise ConfigError(
            f"whether a higher or a lower {name} is better cannot be told from its name: {hint} {option}=max or "
            f"{option}=min"
        )
    return known


def mode_of_result(result: Mapping[str, Any]) -> str:
    """The mode of the objective in a result.json; early versions only have its name."""
    return mode(result["objective_name"], result.get("objective_mode"))


def is_better(mode: str, value: float, than: float | None) -> bool:
    """Whether `value` is better than the best one so far, None before there is one. NaN is never better."""
    if than is None:
        return not math.isnan(value)
    return value > than if mode == "max" else value < than
