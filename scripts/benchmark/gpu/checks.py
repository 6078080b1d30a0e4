"""Checks that a GPU works for what Litmus promises, and the time to 99 % on MNIST."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litmus.errors import StoppedRun

from .process import CONTESTANTS, Runner, cell

TARGET = 0.99
MNIST = ("model=cnn", "model.dropout=0.1", "data.batch_size=128", "optim.lr=5e-3", "trainer.max_epochs=8")
RESUME_TOLERANCE = 0.05  # of the second epoch's weight update; kernels on a GPU are not deterministic by default
INITIAL_SCALE = 2.0**16  # of torch.amp.GradScaler


@dataclass(frozen=True)
class Check:
    title: str
    outcome: str  # passed, failed or skipped
    detail: str


class CheckFailed(Exception):
    """The command ran, but its result is wrong."""


class Skipped(Exception):
    """The check needs hardware that is not here."""


class Checks:
    """Small runs of train.py on synthetic images, each with what must hold afterwards."""

    def __init__(self, device: str, gpus: int, images: int, runner: Runner):
        self.device = device
        self.gpus = gpus
        self.runner = runner
        accelerator = "gpu" if device == "cuda" else "cpu"
        self.base = ["data=synthetic", f"data.num_images={images}", "data.batch_size=32", "model=cnn"]
        self.base += [f"accelerator={accelerator}", "scheduler=constant", "callbacks.early_stopping=null", "test=false"]

    def run(self, report: Callable[[Check], None]) -> list[Check]:
        checks = {
            "16-mixed trains, its GradScaler steps": self.mixed_16,
            "bf16-mixed trains": self.mixed_bf16,
            "resuming after 1 of 2 epochs": self.resume,
            "a sweep with jobs=2 gives each job one GPU": self.sweep,
        }
        found = []
        for title, check in checks.items():
            found.append(self._outcome(title, check))
            report(found[-1])
        return found

    def _outcome(self, title: str, check: Callable[[], str]) -> Check:
        try:
            return Check(title, "passed", check())
        except Skipped as error:
            return Check(title, "skipped", str(error))
        except (CheckFailed, StoppedRun) as error:
            return Check(title, "failed", str(error))
        except Exception as error:
            return Check(title, "failed", f"{type(error).__name__}: {error}")

    def mixed_16(self) -> str:
        if self.device != "cuda":
            raise Skipped("needs CUDA")
        losses = self._losses("mixed16", "accelerator.precision=16-mixed")
        checkpoint = load(self.runner.folder / "mixed16")
        expect("MixedPrecision" in checkpoint, "last.ckpt has no GradScaler state")
        scaler = checkpoint["MixedPrecision"]
        scale, tracker = scaler["scale"], scaler["_growth_tracker"]
        expect(math.isfinite(scale) and scale > 0, f"the loss scale is {scale}")
        expect(tracker > 0 or scale != INITIAL_SCALE, "the GradScaler has never been updated")
        return f"{losses}; loss scale {scale:g}, {tracker} steps since it changed"

    def mixed_bf16(self) -> str:
        return self._losses("bf16", "accelerator.precision=bf16-mixed")

    def _losses(self, name: str, *overrides: str) -> str:
        self._train(name, *overrides, "trainer.max_epochs=2")
        first, last = (row["train/loss"] for row in metrics(self.runner.folder / name))
        expect(math.isfinite(last) and last < first, f"train/loss went from {first:.3f} to {last:.3f}")
        return f"train/loss {first:.3f} to {last:.3f}"

    def resume(self) -> str:
        """The difference from an uninterrupted run, relative to what the second epoch changes."""
        self._train("straight", "trainer.max_epochs=2")
        self._train("resumed", "trainer.max_epochs=1")
        middle = weights(self.runner.folder / "resumed")
        self.runner.train(f"resume={self.runner.folder / 'resumed'}", "trainer.max_epochs=2")
        straight, resumed = (weights(self.runner.folder / name) for name in ("straight", "resumed"))
        update = float((straight - middle).norm())
        expect(update > 0, "the second epoch changed no weight")
        difference = float((resumed - straight).norm()) / update
        expect(difference <= RESUME_TOLERANCE, f"differs by {difference:.2g} of the second epoch's update")
        return "bit-identical" if difference == 0 else f"differs by {difference:.2g} of the second epoch's update"

    def sweep(self) -> str:
        seen = self.runner.folder / "visible_gpus"
        seen.mkdir()
        path = self.runner.environment.get("PYTHONPATH")
        extra = {
            "LITMUS_VISIBLE_GPUS": str(seen),
            "PYTHONPATH": ":".join([str(CONTESTANTS), *([path] if path else [])]),
        }
        overrides = [*self.base, "trainer.max_epochs=2", "loss._target_=visible_gpus.CrossEntropyLoss"]
        self.runner.train("-m", *overrides, "seed=0,1", "jobs=2", "sweep_name=gpus", extra=extra)
        jobs = sorted((json.loads(file.read_text()) for file in seen.glob("*.json")), key=lambda job: job["started"])
        ends = sorted(file.stat().st_mtime for file in self.runner.folder.glob("outputs/sweeps/gpus/*/result.json"))
        expect(len(jobs) == len(ends) == 2, f"{len(ends)} of 2 jobs are complete")
        if self.device != "cuda":
            raise Skipped("both jobs are complete; assigning GPUs needs CUDA")
        gpus = [job["gpus"] for job in jobs]
        expect(all(gpu and "," not in gpu for gpu in gpus), f"CUDA_VISIBLE_DEVICES is {gpus} in the two jobs")
        if self.gpus > 1:
            expect(gpus[0] != gpus[1], f"both jobs ran on GPU {gpus[0]}, of {self.gpus}")
            return f"CUDA_VISIBLE_DEVICES {gpus[0]} and {gpus[1]}"
        expect(jobs[1]["started"] >= ends[0], "both jobs used the only GPU at the same time")
        return f"CUDA_VISIBLE_DEVICES {gpus[0]} in both, one after the other"

    def _train(self, name: str, *overrides: str) -> None:
        self.runner.train(*self.base, *overrides, f"output_dir={self.runner.folder / name}")


def expect(condition: bool, sentence: str) -> None:
    if not condition:
        raise CheckFailed(sentence)


def load(run: Path) -> dict[str, Any]:
    import torch

    return torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)


def weights(run: Path) -> Any:
    """All weights and running statistics of last.ckpt in one vector."""
    import torch

    return torch.cat([value.double().flatten() for value in load(run)["state_dict"].values()])


def metrics(run: Path) -> list[dict[str, float]]:
    from litmus.core.metrics_file import read_metrics

    return read_metrics(run / "metrics.csv")


def mnist(device: str, images: int | None, runner: Runner) -> str:
    """A table: seconds until an epoch ends with val/acc of at least 99 %, with the CNN."""
    overrides = [*MNIST, f"accelerator={'gpu' if device == 'cuda' else 'cpu'}", "test=false"]
    overrides += [f"data.train_size={images}"] if images else []
    run = runner.folder / "mnist"
    lines = [f"**Time to 99 % on MNIST**: `train.py {' '.join(overrides)}`\n"]
    lines += ["| training until val/acc ≥ 0.99, s | epoch | best val/acc | all training, s | whole command, s |"]
    lines += ["| ---: | ---: | ---: | ---: | ---: |"]
    try:
        finished = runner.train(*overrides, f"output_dir={run}")
        started, accuracies = logged_accuracies(run)
    except Exception as error:
        return "\n".join([*lines, f"| {cell(str(error) or type(error).__name__)} | | | | |"])
    reached = next(((i, t) for i, (t, value) in enumerate(accuracies, start=1) if value >= TARGET), None)
    cells = ["not reached", ""] if reached is None else [f"{reached[1] - started:.2f}", str(reached[0])]
    cells += [f"{max(value for _, value in accuracies):.4f}", f"{accuracies[-1][0] - started:.2f}"]
    return "\n".join([*lines, f"| {' | '.join(cells)} | {finished.seconds:.1f} |"])


def logged_accuracies(run: Path) -> tuple[float, list[tuple[float, float]]]:
    """When the first event was written, before data is moved to the device, and (time, val/acc) of each epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events.FirstEventTimestamp(), [(event.wall_time, event.value) for event in events.Scalars("val/acc")]
