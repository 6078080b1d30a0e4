import numpy as np
import pytest

from litmus.data.labels import Classes, class_name, read_labels
from litmus.errors import ConfigError


def numbered(labels, names=None):
    labels = read_labels(np.asarray(labels), "y_train")
    classes = Classes.of(labels, names, "y_train")
    return classes.numbers(labels, "y_train").tolist(), classes.names


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([0, 2, 1, 0], [0, 2, 1, 0], ["0", "1", "2"]),
        ([1, 10, 2], [0, 2, 1], ["1", "2", "10"]),
        ([-1, 1], [0, 1], ["-1", "1"]),
        ([1.0, 2.0], [0, 1], ["1", "2"]),
        ([[3], [4]], [0, 1], ["3", "4"]),
        ([True, False], [1, 0], ["False", "True"]),
        (["dog", "cat"], [1, 0], ["cat", "dog"]),
        ([b"dog", b"caf\xc3\xa9"], [1, 0], ["café", "dog"]),
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], [1, 2, 0], ["0", "1", "2"]),
        ([[0.0, 1.0], [1.0, 0.0]], [1, 0], ["0", "1"]),
    ],
    ids=str,
)
def test_each_distinct_label_is_a_class(labels, numbers, names):
    assert numbered(labels) == (numbers, names)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([1, 0], ["cat", "dog"], ([1, 0], ["cat", "dog"])),
        ([1, 2], ["cat", "dog"], ([0, 1], ["cat", "dog"])),
        (["dog", "cat"], ["dog", "cat"], ([0, 1], ["dog", "cat"])),
        ([0, 1], [7, 8.5], ([0, 1], ["7", "8.5"])),
        ([0, 1], [b"a", b"\xff"], ([0, 1], ["a", "\\xff"])),
        ([3, 5, 8], [5, 3, 8], ([1, 0, 2], ["5", "3", "8"])),
        ([3, 5, 8], ["05", "03", "08"], ([1, 0, 2], ["05", "03", "08"])),
        ([0, 1, 2], [2, 1, 0], ([2, 1, 0], ["2", "1", "0"])),
        ([0, 1], [1, 2], ([0, 1], ["1", "2"])),
        (["3", "5"], [5, 3], ([1, 0], ["5", "3"])),
        ([True, False], [True, False], ([0, 1], ["True", "False"])),
        ([-100, 0, 1], ["none", "cat", "dog"], ([0, 1, 2], ["none", "cat", "dog"])),
    ],
)
def test_given_class_names_belong_to_the_labels(labels, names, expected):
    assert numbered(labels, names) == expected


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [
        ([0, 1], ["cat", "dog", "cow"], "no image of the class cow; leave it out of class_names"),
        ([1, 3], ["cat", "dog", "cow"], "2 distinct labels .1, 3. and class_names 3 names"),
        (["cat", "cow"], ["cat", "dog"], "holds cow, which class_names lacks"),
        ([3, 5, 8], [5, 3, 9], "holds 8, which class_names lacks; add it there"),
        ([3, 5], [5, 3, 8], "no image of the class 8; leave it out of class_names"),
        ([-100, 0, 1], ["cat", "dog"], r"3 distinct labels \(-100, 0, 1\) and class_names 2 names"),
        (
            [-100, 0, 1],
            None,
            "holds the label -100, which may mark images without a class; remove those images, or add",
        ),
        ([-1, 0, 1], None, "holds the label -1, which"),
        ([0, 1], ["cat", "cat"], "a name twice"),
        ([0.5, 1], None, "fractions"),
        ([np.nan, 1], None, "fractions"),
        ([[0.2, 0.8], [1, 0]], None, r"y_train = y_train\.argmax\(axis=1\)"),
        ([[1, 1], [1, 0]], None, "marks several classes or none"),
        ([[0, 0], [1, 0]], None, "marks several classes or none"),
        ([[[1]]], None, "one label for each image"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), None, r"y_train = y_train\.astype\(str\)"),
    ],
)
def test_labels_that_may_mean_something_else_are_refused(labels, names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        numbered(labels, names)


def test_a_label_that_no_training_image_has_is_refused():
    classes = Classes.of(np.array([1, 3]), None, "y_train")
    for unknown in (0, 2, 4):
        with pytest.raises(ConfigError, match=f"y_test holds the label {unknown}, which no training image has"):
            classes.numbers(np.array([1, unknown]), "y_test")


@pytest.mark.parametrize(("value", "name"), [(3, "3"), (b"\xc3\xa9", "é"), (b"\xe9", "\\xe9"), ("猫", "猫")])
def test_a_class_name_is_text(value, name):
    assert class_name(value) == name
