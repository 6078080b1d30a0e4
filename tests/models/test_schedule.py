"""Schedules of several schedulers, and the lengths that follow from the run."""

from pathlib import Path

import pytest
import torch
import yaml
from conftest import assert_same, cut_off, weights
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, ExponentialLR, LinearLR, SequentialLR

from litmus.core.metrics_file import read_metrics
from litmus.errors import ConfigError
from litmus.models.schedule import spans_whole_run

QUICK = ("data.num_images=80", "data.batch_size=16", "trainer.max_epochs=5", "logger=none", "test=false", "optim=sgd")
LR = "torch.optim.lr_scheduler"


def part(name: str, **options):
    return {"_target_": f"{LR}.{name}", "_partial_": True, **options}


WARM_UP = part("LinearLR", start_factor=0.25, total_iters=None)
SEQUENTIAL = part("SequentialLR", schedulers=[WARM_UP, part("CosineAnnealingLR", T_max=None)], milestones=[2])
CHAINED = part("ChainedScheduler", schedulers=[WARM_UP, part("ExponentialLR", gamma=0.5)])
NESTED = part("ChainedScheduler", schedulers=[SEQUENTIAL, part("ExponentialLR", gamma=0.5)])


@pytest.fixture
def schedule(tmp_path):
    """Writes a file of conf/scheduler as a user would, and gives the overrides that choose it."""

    def write(scheduler: dict, interval: str = "epoch") -> tuple[str, ...]:
        folder = tmp_path / "conf" / "scheduler"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "own.yaml").write_text(yaml.safe_dump({"interval": interval, "scheduler": scheduler}))
        return f"hydra.searchpath=[file://{folder.parent}]", "scheduler=own", *QUICK, "optim.lr=0.1"

    return write


def sequential(optimizer, warm_up, rest):
    inner = [LinearLR(optimizer, 0.25, total_iters=warm_up), CosineAnnealingLR(optimizer, rest)]
    return SequentialLR(optimizer, inner, [warm_up])


def chained(optimizer, length):
    return ChainedScheduler([LinearLR(optimizer, 0.25, total_iters=length), ExponentialLR(optimizer, 0.5)])


def nested(optimizer):
    return ChainedScheduler([sequential(optimizer, 2, 3), ExponentialLR(optimizer, 0.5)])


def rates(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("scheduler", "make"),
    [
        (SEQUENTIAL, lambda optimizer: sequential(optimizer, 2, 3)),
        (CHAINED, lambda optimizer: chained(optimizer, 5)),
        (NESTED, nested),
    ],
    ids=["sequential", "chained", "nested"],
)
def test_several_schedulers_give_the_rates_that_torch_gives(train, schedule, scheduler, make):
    run = train(*schedule(scheduler))
    assert [row["lr"] for row in read_metrics(run.path / "metrics.csv")] == pytest.approx(rates(make, 5), rel=1e-6)


def test_in_steps_the_phases_are_counted_in_steps(train, schedule):
    run = train(*schedule({**SEQUENTIAL, "milestones": [7]}, interval="step"))
    found = [row["lr"] for row in read_metrics(run.path / "metrics.csv")]  # 72 images in batches of 16: 5 steps
    assert found == pytest.approx(rates(lambda optimizer: sequential(optimizer, 7, 18), 25)[::5], rel=1e-6)


@pytest.mark.parametrize("scheduler", [SEQUENTIAL, CHAINED, NESTED], ids=["sequential", "chained", "nested"])
@pytest.mark.parametrize("epoch", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_several_schedulers_resume_to_the_bit(train, monkeypatch, schedule, scheduler, epoch):
    options = schedule(scheduler)
    whole = train(*options, "output_dir=whole")
    cut_off(train, monkeypatch, epoch, *options, "output_dir=cut")
    resumed = train(*options, "output_dir=cut")
    assert_same(weights(whole.path), weights(resumed.path))
    assert (whole.path / "metrics.csv").read_text() == (resumed.path / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("milestones", "sentence"),
    [
        ([2, 3], "milestones has 2 numbers for 2 schedulers: give 1"),
        ([0], r"milestones=\[0\] must rise and stay below"),
        ([5], r"milestones=\[5\] must rise and stay below 5, the number of epochs or steps"),
    ],
)
def test_milestones_that_leave_a_scheduler_no_time_are_refused(train, schedule, milestones, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(*schedule({**SEQUENTIAL, "milestones": milestones}), "output_dir=new/run")
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (part("ReduceLROnPlateau"), "scheduler cannot be built: .*ReduceLROnPlateau"),
        (CHAINED, "a ChainedScheduler cannot be inside a SequentialLR"),
    ],
)
def test_what_cannot_follow_another_scheduler_is_refused(train, schedule, tmp_path, second, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(*schedule({**SEQUENTIAL, "schedulers": [WARM_UP, second]}), "output_dir=run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SEQUENTIAL, True),
        ({**SEQUENTIAL, "schedulers": [WARM_UP, part("ExponentialLR", gamma=0.5)]}, False),
        (CHAINED, True),
        (part("StepLR", step_size=3), False),
    ],
)
def test_only_a_last_phase_without_a_length_depends_on_the_whole_run(options, expected):
    assert spans_whole_run(options) == expected
