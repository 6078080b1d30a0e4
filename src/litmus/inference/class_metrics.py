"""Precision, recall and F1 per class, from a confusion matrix."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass
class ClassScores:
    """`precision` is the share of what was taken for the class that is of it, `recall` the share of the class that was
    taken for it, `f1` their harmonic mean; each None where it has nothing to be a share of."""

    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def class_scores(counts: Tensor, names: list[str]) -> list[ClassScores]:
    """Of counts (true class, predicted class)."""
    right, true, said = counts.diag().tolist(), counts.sum(dim=1).tolist(), counts.sum(dim=0).tolist()
    return [
        ClassScores(name, t, _share(r, s), _share(r, t), _share(2 * r, t + s))
        for name, r, t, s in zip(names, right, true, said, strict=True)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def mean_of(scores: list[ClassScores], name: str) -> float:
    """Over the classes that have one: each class counts the same."""
    values = [value for one in scores if (value := getattr(one, name)) is not None]
    return sum(values) / len(values) if values else float("nan")
