"""One run from its config to result.json."""

from typing import Any

import pytorch_lightning as pl

from litmus.data.protocol import complete_data_module
from litmus.models.classifier import Classifier
from litmus.runs.building import build
from litmus.runs.distributed import is_rank_zero
from litmus.runs.model_building import build_model
from litmus.runs.model_checks import check_model, check_optimizer, check_rebuilt, check_trains
from litmus.runs.run import Run


def train(run: Run) -> float:
    """Trains the run, or resumes it, tests its best checkpoint once, and gives the objective's best value."""
    # Everything checks its options as it is built; the first file is written when all have agreed.
    pl.seed_everything(run.cfg.seed, verbose=False)
    data = complete_data_module(build(run.cfg.data))
    is_restored = run.last_checkpoint is not None
    model = build_model(run.cfg, data.num_classes, data.image_shape, is_restored)
    check_model(run.cfg, model, data.num_classes, data.image_shape)
    check_trains(model)
    check_optimizer(model, is_restored)
    trainer = run.build_trainer(model, data)
    if is_rank_zero():
        data.prepare_data()
    data.setup()
    check_last_batch(model, data, trainer)

    with run.opened(trainer, model, data):
        trainer.fit(model, datamodule=data, ckpt_path=run.last_checkpoint)
        run.record_end(trainer)
        run.load_best(model)
        if run.test_wanted:
            trainer.test(model, datamodule=data, verbose=False)
        if is_rank_zero():
            check_rebuilt(run.path, model, data.image_shape)
        return run.finish(trainer)


def check_last_batch(model: Classifier, data: Any, trainer: pl.Trainer) -> None:
    """Raises StoppedRun if the last batch of an epoch, of the images that are left over, is too small for the model."""
    if not hasattr(data, "batches") or trainer.limit_train_batches != 1.0:  # other data modules form batches themselves
        return
    images = data.size("train") // trainer.world_size
    model.check_batch(images % data.batch_size or min(images, data.batch_size))
