"""Labels of any kind as class indices, and the names of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from litmus.errors import first_few, require


def class_name(value: object) -> str:
    """The name as text; numbers and bytes are accepted."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@dataclass
class Classes:
    """The classes of a data set. `values` (num_classes,) are the labels of the classes `names`, in the same order."""

    values: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, labels: np.ndarray, given: Sequence[object] | None, name: str, may_be_empty: bool = False) -> "Classes":
        """The classes of the array `name` of labels. `given` is the array class_names, or None.

        Without class names, each distinct label is a class, in ascending order; a negative label is an error, unless
        the labels are -1 and 1. With class names, a label is a name, the number that the name spells, or a position in
        the list; or there are as many distinct labels as names. Raises ConfigError for other labels, and for a class
        without an image unless `may_be_empty`.
        """
        distinct = np.unique(labels)
        if given is None:
            negative = distinct[:0] if distinct.dtype.kind in "bU" else distinct[distinct < 0]
            require(
                len(negative) == 0 or np.array_equal(distinct, (-1, 1)),
                f"{name} holds the label {first_few(negative)}, which may mark images without a class; remove those "
                "images, or add class_names with a name for each label to the arrays if it is one",
            )
            return cls(distinct, [class_name(value) for value in distinct.tolist()])
        names = [class_name(value) for value in given]
        require(len(set(names)) == len(names), "class_names holds a name twice; give each class a name of its own")
        numbers, positions = _numbers(names), np.arange(len(names))
        are_positions = np.isin(distinct, positions).all()
        is_named = np.isin(distinct, numbers)
        if distinct.dtype.kind == "U":
            values = np.array(names)
        elif is_named.all() or (is_named.any() and not are_positions):
            values = numbers
        elif are_positions:
            values = positions
        else:
            values = distinct
            require(
                len(distinct) == len(names),
                f"{name} holds {len(distinct)} distinct labels ({first_few(distinct)}) and class_names {len(names)} "
                "names; give one name for each label",
            )
        unknown = np.setdiff1d(distinct, values)
        require(len(unknown) == 0, f"{name} holds {first_few(unknown)}, which class_names lacks; add it there")
        empty = [names[i] for i in np.flatnonzero(~np.isin(values, distinct))]
        require(
            may_be_empty or not empty,
            f"{name} has no image of the class {first_few(empty)}; leave it out of class_names",
        )
        return cls(values, names)

    @property
    def are_numbered(self) -> bool:
        """Whether the labels already are the class indices."""
        return self.values.dtype.kind != "U" and np.array_equal(self.values, np.arange(len(self.values)))

    def numbers(self, labels: np.ndarray, name: str) -> np.ndarray:
        """The class index (N,) int64 of each label. Raises ConfigError if a label has no training image."""
        unknown = np.setdiff1d(labels, self.values)
        require(
            len(unknown) == 0,
            f"{name} holds the label {first_few(unknown)}, which no training image has ({first_few(self.values)}); "
            "remove those images",
        )
        order = np.argsort(self.values)
        return order[np.searchsorted(self.values, labels, sorter=order)].astype(np.int64)


def _numbers(names: Sequence[str]) -> np.ndarray:
    """The class names as numbers; empty if a name is not a number or two are equal."""
    try:
        values = [float({"False": 0, "True": 1}.get(name, name)) for name in names]
    except ValueError:
        return np.zeros(0)
    numbers = np.array([int(value) if value.is_integer() else value for value in values])
    return numbers if len(np.unique(numbers)) == len(numbers) else np.zeros(0)


def read_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Labels (N,), whole numbers or text, from an array (N,), (N, 1) or one-hot (N, num_classes).

    Raises ConfigError for anything else, if possible with the line of NumPy that converts it.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        is_binary, shape = bool(np.isin(labels, (0, 1)).all()), labels.shape
        require(
            not is_binary or bool((labels.sum(axis=1) == 1).all()),
            f"{name} has shape {shape} and marks several classes or none for an image; keep the images of one class",
        )
        require(is_binary, f"{name} has shape {shape} and is not one-hot; {name} = {name}.argmax(axis=1)")
        return labels.argmax(axis=1)
    require(labels.ndim == 1, f"{name} has shape {labels.shape}, and must hold one label for each image, (N,)")
    if labels.dtype.kind == "f":
        require(
            bool(np.isfinite(labels).all() and (labels == np.rint(labels)).all()),
            f"{name} holds fractions ({first_few(labels[:3])}), and must hold a class for each image: a number or "
            "a name",
        )
        return labels.astype(np.int64)
    if labels.dtype.kind == "S":
        return np.array([class_name(value) for value in labels.tolist()], dtype=str)
    require(
        labels.dtype.kind in "biuU",
        f"{name} holds {labels.dtype}, and must hold whole numbers or text; {name} = {name}.astype(str)",
    )
    return labels
