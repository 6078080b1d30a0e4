"""Counts in a sentence."""

import pytest

from litmus.core.counts import format_count


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, "epoch"), "0 epochs"),
        ((1, "epoch"), "1 epoch"),
        ((2000, "epoch"), "2,000 epochs"),
        ((1, "batch", "batches"), "1 batch"),
        ((2, "batch", "batches"), "2 batches"),
    ],
)
def test_a_noun_agrees_with_its_number(arguments, text):
    assert format_count(*arguments) == text
