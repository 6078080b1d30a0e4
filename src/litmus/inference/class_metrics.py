"""Precision, recall and F1 per class, from a confusion matrix."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass
class ClassScores:
    """Precision, recall and F1 of a class; None where the denominator is 0."""

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def class_scores(counts: Tensor, names: list[str]) -> list[ClassScores]:
    """From counts (true class, predicted class)."""
    right, true, said = counts.diag().tolist(), counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
    return [
        ClassScores(name, t, _share(r, s), _share(r, t), _share(2 * r, t + s))
        for name, r, t, s in zip(names, right, true, said, strict=True)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def mean_of(scores: list[ClassScores], name: str) -> float:
    """Macro average over the classes that have a value."""
    values = [value for one in scores if (value := getattr(one, name)) is not None]
    return sum(values) / len(values) if values else float("nan")
