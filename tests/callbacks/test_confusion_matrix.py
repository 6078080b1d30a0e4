import csv

import numpy as np
import pytest
import torch
from board import Board
from conftest import SMALL, composed
from PIL import Image

import litmus
from litmus.callbacks.confusion_matrix import as_csv, draw
from litmus.runs import build

OPTIONS = (
    "data.num_images=240",
    "data.num_classes=4",
    "data.eval_batch_size=7",
    "trainer.max_epochs=1",
    "optim.lr=1e-9",
)


def test_rows_are_true_classes_and_columns_are_predictions(train):
    run = train(*OPTIONS, "logger=none")
    data = build(composed(*SMALL, *OPTIONS).data)
    data.setup()
    images, labels = data.parts["test"]
    with torch.no_grad():
        predicted = litmus.load(run.path)(images).argmax(dim=1)
    expected = np.zeros((4, 4), dtype=int)
    for true, said in zip(labels.tolist(), predicted.tolist(), strict=True):
        expected[true, said] += 1
    assert not np.array_equal(expected, expected.T)
    with (run.path / "test" / "confusion_matrix.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["true class", "class 0", "class 1", "class 2", "class 3"]
    assert [row[0] for row in rows] == header[1:]
    assert np.array_equal(np.array([row[1:] for row in rows], dtype=int), expected)
    assert expected.trace() / expected.sum() == pytest.approx(run.result["metrics"]["test/acc"])


def test_the_picture_is_in_the_run_directory_and_in_tensorboard(train_logged):
    run = train_logged(*OPTIONS)
    saved = np.asarray(Image.open(run.path / "test" / "confusion_matrix.png").convert("RGB"))
    (shown,) = Board(run.path).images("confusion_matrix").values()
    assert np.array_equal(saved, shown)


def test_class_names_with_commas_and_quotes_stay_whole_in_the_csv():
    text = as_csv(torch.tensor([[1, 2], [3, 4]]), ['a, "b"', "c"])
    assert list(csv.reader(text.splitlines())) == [["true class", 'a, "b"', "c"], ['a, "b"', "1", "2"], ["c", "3", "4"]]


def test_cells_hold_their_counts_and_colors_the_share_of_the_row():
    figure = draw(torch.tensor([[9, 1], [0, 0]]), ["cat", "dog"], "title")
    axes = figure.axes[0]
    assert [(text.get_text(), text.get_position()) for text in axes.texts] == [("9", (0, 0)), ("1", (1, 0))]
    assert np.allclose(axes.images[0].get_array(), [[0.9, 0.1], [0, 0]])  # a class without images is no 0 / 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_many_classes_are_drawn_without_counts():
    figure = draw(torch.eye(100, dtype=torch.long), [f"class {i}" for i in range(100)], "title")
    assert not figure.axes[0].texts
    assert len(figure.axes[0].get_xticklabels()) == 100
    assert max(figure.get_size_inches()) < 20
