"""The table of docs/lightning-callbacks.md, whose rows test_lightning_callbacks.py runs; as a script, prints it."""

from typing import Any, NamedTuple

HERE = "lightning_callbacks_table"


class Row(NamedTuple):
    """A callback with options as in a YAML file, other options of the run, and what the page says."""

    name: str
    options: dict[str, Any]
    overrides: tuple[str, ...] = ()
    note: str = ""
    refused: str = ""  # a part of the error


def function(path: str) -> dict[str, str]:
    return {"_target_": "hydra.utils.get_method", "path": path}


CONSTANT = ("scheduler=constant",)
BOARD = ("logger=tensorboard", "trainer.log_every_n_steps=1")
FUNCTION = "`{_target_: hydra.utils.get_method, path: MODULE.FUNCTION}`"
AVERAGED = "resumes exactly; `best.ckpt` has the averaged weights, which are those validated"
LAST = "`python scripts/evaluate.py RUN --checkpoint last`"
ROWS = (
    Row(
        "LambdaCallback",
        {"on_train_epoch_end": function(f"{HERE}.say"), "on_before_optimizer_step": function(f"{HERE}.say")},
        note=f"a hook is {FUNCTION}",
    ),
    Row(
        "StochasticWeightAveraging",
        {"swa_lrs": 0.02, "swa_epoch_start": 2, "annealing_epochs": 3},
        (*CONSTANT, "trainer.max_epochs=4"),
        "resumes exactly, but to no other `trainer.max_epochs`; use a scheduler with `interval: epoch`. The weights "
        f"are averaged after the last validation: `best.ckpt` has validated weights, `last.ckpt` the average ({LAST}). "
        "With batch normalization, an additional epoch validates the average",
    ),
    Row("WeightAveraging", {}, ("trainer.max_epochs=3",), AVERAGED),
    Row("EMAWeightAveraging", {"decay": 0.9}, ("trainer.max_epochs=3",), AVERAGED),
    Row("RichProgressBar", {}, note="replaces the bar of Litmus; `pip install rich`"),
    Row("TQDMProgressBar", {}, note="replaces the bar of Litmus"),
    Row("ModelSummary", {}, note="is also in `train.log`"),
    Row("RichModelSummary", {}, note="`pip install rich`"),
    Row("DeviceStatsMonitor", {}, BOARD, "needs a logger; for the CPU, `pip install psutil`"),
    Row("LearningRateMonitor", {}, BOARD, "needs a logger; `callbacks.learning_rate` logs `lr` without one"),
    Row(
        "GradientAccumulationScheduler",
        {"scheduling": {1: 2, 2: 4}},
        (*CONSTANT, "trainer.max_epochs=3"),
        "resumes exactly; epochs count from 0; use a scheduler that steps once per epoch, such as `scheduler=constant` "
        "or `scheduler=step`, because the number of steps is not known in advance",
    ),
    Row("Timer", {"duration": {"minutes": 5}}, note="a resumed run has the remaining time"),
    Row(
        "ModelPruning",
        {"pruning_fn": "l1_unstructured", "parameter_names": ["weight"], "amount": 0.3},
        ("trainer.max_epochs=3",),
        "resumes exactly with `use_lottery_ticket_hypothesis: false`, otherwise not at all. Checkpoints have the "
        "pruned weights under their plain names. It prunes after an epoch's validation: `best.ckpt` has the weights "
        f"from before, `last.ckpt` the final ones ({LAST}). With a CNN, set `accelerator.channels_last=false`",
    ),
    Row(
        "ThroughputMonitor",
        {"batch_size_fn": function(f"{HERE}.images_in")},
        BOARD,
        f"needs a logger to be seen; `batch_size_fn` is {FUNCTION}",
    ),
    Row("ModelCheckpoint", {"monitor": "val/loss"}, note="adds its own files to `best.ckpt` and `last.ckpt`"),
    Row(
        "EarlyStopping",
        {"monitor": "val/loss"},
        ("callbacks.early_stopping=null",),
        "set `callbacks.early_stopping=null` if both watch the same metric; that one also gives the stop reason",
    ),
    Row(
        "LearningRateFinder",
        {},
        note="sweep the learning rate: `python train.py -m optim.lr=1e-4,1e-3,1e-2`",
        refused="optim.lr=",
    ),
    Row("BatchSizeFinder", {}, note="set `data.batch_size`, so that the config has it", refused="data.batch_size"),
    Row(
        "BackboneFinetuning",
        {},
        note="use `model=resnet model.freeze=true model.unfreeze_at_epoch=N`, which resumes exactly",
        refused="model=resnet model.freeze=true model.unfreeze_at_epoch=N",
    ),
    Row(
        "OnExceptionCheckpoint",
        {"dirpath": "."},
        note="not needed: a run resumes from `last.ckpt`, which is written after every epoch",
        refused="checkpoints/last.ckpt",
    ),
)
WORKING = {row.name: row for row in ROWS if not row.refused}
REFUSED = {row.name: row for row in ROWS if row.refused}
CHANGES_WEIGHTS = [
    "StochasticWeightAveraging",
    "WeightAveraging",
    "EMAWeightAveraging",
    "GradientAccumulationScheduler",
    "ModelPruning",
]
LAYOUT = ("accelerator.channels_last=false",)
NORMALIZED = ("model=cnn", "model.channels=[4,4]", "model.hidden=[8]", "model.dropout=0.3")


def page() -> str:
    """docs/lightning-callbacks.md."""
    rows = [
        f"| `{row.name}` | {'refused' if row.refused else 'works'} | {row.note[:1].upper() + row.note[1:]} |"
        for row in ROWS
    ]
    return "\n".join(
        [
            "# Lightning's callbacks",
            "",
            "Callbacks that ship with Lightning, each added by a file such as `conf/callbacks/ema.yaml`:",
            "",
            "    defaults: [default]",
            "    ema:",
            "      _target_: pytorch_lightning.callbacks.EMAWeightAveraging",
            "      decay: 0.999",
            "",
            "and chosen with `callbacks=ema`. One that works has the same effect as in a plain `Trainer`. One that is",
            "refused ends the command with one sentence, before anything is written. Whatever a callback does to the",
            "weights, `best.ckpt` has exactly those that gave the validation metrics of the best epoch; `gap/acc` and",
            "`callbacks=test_curve` measure the same weights.",
            "",
            "| callback | here | note |",
            "| --- | --- | --- |",
            *rows,
            "",
            "This page is generated:",
            "",
            "    python tests/training/lightning_callbacks_table.py > docs/lightning-callbacks.md",
            "",
        ]
    )


# What the rows name.

said: list[str] = []


def say(*arguments: Any) -> None:
    said.append("said")


def images_in(batch: Any) -> int:
    return len(batch[0])


if __name__ == "__main__":
    print(page(), end="")
