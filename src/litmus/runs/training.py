"""One run from its config to result.json."""

import pytorch_lightning as pl

from litmus.data.protocol import complete_data_module
from litmus.runs.building import build
from litmus.runs.model_building import build_model
from litmus.runs.processes import is_first
from litmus.runs.run import Run


def train(run: Run) -> float:
    """Trains the run, or resumes it, tests its best checkpoint once, and gives the objective's best value."""
    # Everything checks its options as it is built; the first file is written when all have agreed.
    pl.seed_everything(run.cfg.seed, verbose=False)
    data = complete_data_module(build(run.cfg.data))
    is_restored = run.last_checkpoint is not None
    model = build_model(run.cfg, data.num_classes, data.image_shape, is_restored)
    trainer = run.build_trainer(model, data)
    if is_first():
        data.prepare_data()
    data.setup()

    with run.opened(trainer, model, data):
        trainer.fit(model, datamodule=data, ckpt_path=run.last_checkpoint)
        run.record_end(trainer)
        if run.test_wanted:
            run.load_best(model)
            trainer.test(model, datamodule=data, verbose=False)
        return run.finish(trainer)
