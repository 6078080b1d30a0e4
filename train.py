"""One run: a config in, a result.json out. The steps are in src/litmus/runs/training.py.

A sweep calls `main` in the process of each job, with the `channel` to the sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litmus import cli

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from litmus.runs.job_channel import JobChannel


@cli.command
def main(cfg: DictConfig, channel: JobChannel | None = None) -> float:
    # Here and not above, so that a mistyped option is answered before torch is imported.
    from litmus import runs

    run = runs.Run(cfg, channel)
    return runs.train(run) if run.result is None else run.show_again(run.result)


if __name__ == "__main__":
    main()
