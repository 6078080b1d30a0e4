"""One run from its config to result.json: prepare → fit → test → write."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litmus.core.checkpoint_io import write_json
from litmus.core.tensorboard import write_best
from litmus.errors import StoppedRun
from litmus.losses import uninformed_loss
from litmus.runs.checkpoints import load_weights
from litmus.runs.distributed import is_rank_zero
from litmus.runs.model_checks import check_rebuilt
from litmus.runs.preparation import Preparation, prepare
from litmus.runs.result import build_result, has_diverged, stop_reason
from litmus.runs.run import Run
from litmus.runs.session import open_session

log = logging.getLogger("litmus")


@dataclass(frozen=True)
class FitOutcome:
    seconds: float
    stop_reason: str
    uninformed_loss: float | None  # of equal logits for all classes; a last epoch far above it has diverged


def train(run: Run) -> float:
    """Trains the run or resumes it, tests its best checkpoint once, and returns the best value of the objective."""
    prepared = prepare(run)
    with open_session(run, prepared):
        outcome = _fit(run, prepared)
        tested = _test(run, prepared)
        return _write(run, prepared, outcome, tested)


def _fit(run: Run, prepared: Preparation) -> FitOutcome:
    trainer, model = prepared.trainer, prepared.model
    start = time.monotonic()
    trainer.fit(model, datamodule=prepared.data, ckpt_path=run.last_checkpoint)
    outcome = FitOutcome(
        time.monotonic() - start, stop_reason(trainer), uninformed_loss(model.loss, model.num_classes, model.device)
    )
    if not prepared.checkpoint.best_epoch:
        if run.objective in trainer.callback_metrics:
            raise StoppedRun(
                f"objective={run.objective} was nan in every epoch, so no epoch is the best; correct what logs it, or "
                "choose another objective"
            )
        if not trainer.global_step:
            raise StoppedRun("no training step was taken, so there is no result; the train_dataloader gave no batch")
        raise StoppedRun(
            f"{outcome.stop_reason} before {run.objective} was measured, so there is no result; raise the limit, or "
            "check that the val_dataloader gives batches"
        )
    return outcome


def _test(run: Run, prepared: Preparation) -> Mapping[str, Any]:
    """Loads the best checkpoint, tests it if the run has a test, and returns the test metrics."""
    load_weights(prepared.model, run.best_checkpoint)
    if prepared.is_tested:
        prepared.trainer.test(prepared.model, datamodule=prepared.data, verbose=False)
    if is_rank_zero():
        check_rebuilt(run.best_checkpoint, prepared.model, prepared.data.image_shape)
    # Without a test, test/… metrics are those of the last epoch of a test_curve; the row of the best epoch has its own.
    return prepared.trainer.callback_metrics if prepared.is_tested else {}


def _write(run: Run, prepared: Preparation, outcome: FitOutcome, tested: Mapping[str, Any]) -> float:
    """Writes result.json and prints it. Returns the best value of the objective."""
    checkpoint = prepared.checkpoint
    if not is_rank_zero():
        return checkpoint.best_score or float("nan")
    result = build_result(prepared.metrics.rows, checkpoint.best_epoch, run.objective, tested)
    result |= {
        "objective_mode": run.mode,
        "stop_reason": outcome.stop_reason,
        "seconds": round(outcome.seconds, 3),
        "config_hash": run.hash,
        "diverged": has_diverged(result["last"], outcome.uninformed_loss),
    }
    if result["diverged"]:
        log.warning(
            "training diverged: the loss of the last epoch is far above that of equal outputs for all classes, "
            f"{outcome.uninformed_loss:.4g}; lower optim.lr, or set trainer.gradient_clip_val=1"
        )
    if prepared.reporter is not None and prepared.reporter.reason:
        result["pruned"] = True
    for logger in prepared.trainer.loggers:
        write_best(logger, result["metrics"], result["objective"], result["best_epoch"])
        logger.finalize("success")
    write_json(run.path / "result.json", result)
    return run.show(result)
