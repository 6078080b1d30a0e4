"""One run, from top to bottom: a config in, a result.json out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litmus import cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


@cli.command
def main(cfg: DictConfig) -> float:
    # Here and not above, so that a mistyped option is answered before torch is imported.
    import pytorch_lightning as pl

    from litmus import runs

    run = runs.Run(cfg)
    if run.result is not None:
        return run.show_again(run.result)

    # Everything checks its options as it is built; the first file is written when all have agreed.
    pl.seed_everything(run.cfg.seed, verbose=False)
    data = runs.build(run.cfg.data)
    model = runs.build_model(run.cfg, data.num_classes, data.image_shape, is_restored=run.last_checkpoint is not None)
    trainer = run.build_trainer(model, data)
    data.setup()

    with run.opened(trainer, model, data):
        trainer.fit(model, datamodule=data, ckpt_path=run.last_checkpoint)
        run.record_end(trainer)
        if run.test_wanted:
            run.load_best(model)
            trainer.test(model, datamodule=data, verbose=False)
        return run.finish(trainer)


if __name__ == "__main__":
    main()
