"""A run that is killed again and again, wherever it is, ends as one that never was."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
from conftest import assert_same, weights
from starter import Started

pytestmark = [pytest.mark.trust, pytest.mark.slow]

SEED = int(os.environ.get("TRUST_SEED", 0))  # of the moments; any other must do as well
SMALL = (
    *("data=synthetic", "data.num_images=100", "data.val_size=20", "data.batch_size=10", "optim=adam", "penalty=l1"),
    *("scheduler=plateau", "scheduler.scheduler.patience=0", "scheduler.scheduler.threshold=10", "logger=none"),
    "scheduler.scheduler.factor=0.7",
    *("data.augment.shift=2", "data.augment.flip=true", "data.augment.erasing=0.5", "callbacks.early_stopping=null"),
    *("accelerator=cpu", "accelerator.threads=1"),
)
DROPOUT = (*SMALL, "model=cnn", "model.channels=[4,4]", "model.hidden=[8]", "model.dropout=0.3", "trainer.max_epochs=9")
STAGED = (
    *(*SMALL, "model=resnet", "data.image_shape=[3,20,20]", "trainer.max_epochs=8"),
    *("model.freeze=true", "model.unfreeze_at_epoch=2", "model.unfreeze_every=1", "model.backbone_lr_factor=0.5"),
)
# The files of a run, and how often it writes each within an epoch or so.
FILES = {"metrics.csv": 2, "last.ckpt": 2, "best.ckpt": 1, "run.json": 1, "config.yaml": 1, "result.json": 1}
STEPS = 20  # in two epochs


def moments(draw: random.Random, count: int) -> list[dict]:
    """Where the process is to be killed each time: half of them in the writing of a file."""
    files = [*FILES, *draw.choices(["metrics.csv", "last.ckpt", "best.ckpt"], k=count)][: count // 2]
    writes = [
        {"file": file, "nth": draw.randint(1, FILES[file]), "when": draw.choice(["before", "torn", "after"])}
        for file in files
    ]
    first = {"file": "run.json", "nth": 1, "when": "torn"}  # which leaves a draft and nothing else
    steps = [{"file": None, "nth": draw.randint(1, STEPS), "when": "before"} for _ in range(count - len(writes) - 1)]
    others = writes + steps
    draw.shuffle(others)
    return [first, *others]


def ended(path: Path) -> dict:
    result = json.loads((path / "result.json").read_text())
    return {key: value for key, value in result.items() if key != "seconds"}


def assert_equal(killed: Path, whole: Path) -> None:
    """To the bit, with nothing left over."""
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    for name in ("best", "last"):
        assert_same(weights(killed, name), weights(whole, name))
    assert ended(killed) == ended(whole)
    assert {str(p.relative_to(killed)) for p in killed.rglob("*")} == {
        str(p.relative_to(whole)) for p in whole.rglob("*")
    }


@pytest.mark.parametrize(
    ("options", "prepared", "kills"),
    [(DROPOUT, {}, 12), (DROPOUT, {"beside": True}, 7), (STAGED, {"narrow": True}, 8)],
    ids=["dropout", "checkpoints beside the training", "staged unfreezing"],
)
def test_kills_at_any_moments_lose_nothing(starter, tmp_path, options, prepared, kills):
    draw = random.Random(f"{SEED} {kills}")
    print(f"TRUST_SEED={SEED}")

    def start(directory: str, moment: dict | None = None) -> Started:
        arguments = [*options, f"output_dir={directory}"]
        return starter.start(*arguments, cwd=tmp_path, prepared={"moment": moment, **prepared})

    whole = start("whole")
    assert whole.wait() == 0, whole.text
    number, killed = 0, 0
    for moment in moments(draw, kills):
        while True:
            run = start(f"killed{number}", moment)
            status = run.wait()
            print(f"run {number}: {moment} {status}")
            if status == -signal.SIGKILL:
                killed += 1
                break
            assert status == 0, run.text
            assert_equal(tmp_path / f"killed{number}", tmp_path / "whole")  # it had reached its end before
            number += 1
    last = start(f"killed{number}")
    assert last.wait() == 0, last.text
    assert_equal(tmp_path / f"killed{number}", tmp_path / "whole")
    assert killed == kills
