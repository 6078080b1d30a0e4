"""Every file under conf/ composes, is built and trains."""

from itertools import combinations, product

import pytest
from conftest import CONF, composed

from litmus.errors import ConfigError

TWO_STEPS = ("trainer.max_steps=2", "trainer.max_epochs=1", "trainer.limit_val_batches=1", "logger=none", "test=false")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
ELSEWHERE = {
    "data": {"fashion_mnist", "arrays"},
    "accelerator": {"gpu", "mps", "ddp", "ddp_cpu"},
}


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in GROUPS for option in options(group)], ids=str
)
def test_every_option_composes(group, option):
    assert composed(f"{group}={option}") is not None


TRAINABLE = [
    (group, option)
    for group in ("model", "loss", "penalty", "optim", "scheduler", "callbacks", "logger", "accelerator")
    for option in options(group)
    if option not in ELSEWHERE.get(group, set())
]


@pytest.mark.parametrize(("group", "option"), TRAINABLE, ids=str)
def test_every_option_trains_two_steps(train, group, option):
    assert train(*TWO_STEPS, f"{group}={option}").result["epochs"] == 1


def pairwise_rows(**groups: list[str]) -> list[dict[str, str]]:
    """A small set of combinations in which any two options of different groups meet (greedy)."""
    names = list(groups)
    wanted = {frozenset([(a, x), (b, y)]) for a, b in combinations(names, 2) for x, y in product(groups[a], groups[b])}
    candidates = [dict(zip(names, values, strict=True)) for values in product(*groups.values())]
    rows = []
    while wanted:
        pairs = [{frozenset(pair) for pair in combinations(row.items(), 2)} & wanted for row in candidates]
        best = max(range(len(candidates)), key=lambda i: len(pairs[i]))
        rows.append(candidates[best])
        wanted -= pairs[best]
    return rows


COMBINED = ("loss", "penalty", "optim", "scheduler", "model")
ROWS = pairwise_rows(**{group: options(group) for group in COMBINED})


def test_the_rows_hold_every_pair_of_options():
    for a, b in combinations(COMBINED, 2):
        assert {(row[a], row[b]) for row in ROWS} == set(product(options(a), options(b)))


@pytest.mark.trust
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_any_combination_trains_two_steps(train, row):
    overrides = [f"{group}={option}" for group, option in row.items()]
    assert train(*TWO_STEPS, "callbacks=none", *overrides).result["epochs"] == 1


def test_scheduler_plateau_cannot_step_between_measurements(train):
    with pytest.raises(ConfigError, match="scheduler.interval=step is not possible"):
        train("scheduler=plateau", "scheduler.interval=step")
