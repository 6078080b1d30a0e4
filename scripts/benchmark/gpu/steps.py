"""Training steps per second on one device: Litmus, plain Lightning and two hand-written loops."""

import itertools
import math
import shutil
import statistics
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from litmus.errors import StoppedRun

from .cases import CONTESTANTS, PROGRAMS, Case, write_images
from .process import Runner, cell

EPOCHS = 3  # of one process; the first is warm-up


@dataclass
class Measurement:
    """Seconds of one contestant: of each window of `Case.steps` steps, of each epoch, and of the warm-up."""

    windows: list[float] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    warm_up: float | None = None
    rounds: int = 0
    failure: str | None = None

    def add(self, windows: Sequence[float], epochs: Sequence[float], first_epoch: float) -> None:
        self.windows += windows
        self.epochs += epochs
        if self.warm_up is None:
            self.warm_up = first_epoch - statistics.median(epochs)
        self.rounds += 1

    def rates(self, steps: int) -> list[float]:
        """Steps per second of each window."""
        return [steps / seconds for seconds in self.windows]


@contextmanager
def failure_in(measurement: Measurement) -> Iterator[None]:
    """Turns any error into `measurement.failure`, so that the other contestants are still measured."""
    try:
        yield
    except StoppedRun as error:
        measurement.failure = str(error)
    except Exception as error:
        measurement.failure = f"{type(error).__name__}: {error}"


class StepBenchmark:
    """Measures every contestant on every case, one process at a time.

    A failed contestant keeps its reason in `Measurement.failure` and is not started again.
    """

    def __init__(self, cases: dict[str, Case], contestants: Iterable[str], device: str, runner: Runner):
        self.cases = cases
        self.contestants = list(contestants)
        self.device = device
        self.runner = runner
        self.measurements = {(case, name): Measurement() for case in cases for name in self.contestants}
        # Empty at first, so that the warm-up reported for the compiled runs is a real compilation.
        self.compiler_cache = {"TORCHINDUCTOR_CACHE_DIR": str(runner.folder / "inductor")}

    def compile_ahead(self, workers: int, limit: float) -> None:
        """Fills the compiler's cache for every case, `workers` at a time; their warm-up is the compile time.

        A case that takes more than `limit` seconds is given up, so that it leaves time for the others.
        """
        if "litmus_compiled" not in self.contestants:
            return
        for case in self.cases.values():  # here, because two cases may share a file
            self.arrays(case)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(partial(self._compile, replace(self.runner, limit=limit)), self.cases))

    def _compile(self, runner: Runner, name: str) -> None:
        measurement = self.measurements[name, "litmus_compiled"]
        with failure_in(measurement):
            _, epochs, first = self._litmus(runner, self.cases[name], f"{name}-ahead", 2, compiled=True)
            measurement.warm_up = first - epochs[0]

    def measure(self, name: str, contestant: str) -> None:
        """One process of one contestant on one case."""
        measurement = self.measurements[name, contestant]
        if measurement.failure is not None:
            return
        if contestant == "cuda_graph" and self.device != "cuda":
            measurement.failure = "needs CUDA"
            return
        with failure_in(measurement):
            measurement.add(*self._run(name, contestant))

    def _run(self, name: str, contestant: str) -> tuple[list[float], list[float], float]:
        case = self.cases[name]
        if contestant in PROGRAMS:
            found = self.runner.contestant(PROGRAMS[contestant], self._description(case))
            return found["windows"], found["epochs"], found["first_epoch"]
        compiled = contestant == "litmus_compiled"
        return self._litmus(self.runner, case, f"{name}-{contestant}", EPOCHS, compiled)

    def _description(self, case: Case) -> dict[str, Any]:
        kept = ("model", "batch_size", "val_size", "steps", "precision", "small_stem")
        found = {key: getattr(case, key) for key in kept}
        return {
            **found,
            "images": str(self.arrays(case)),
            "epochs": EPOCHS,
            "device": self.device,
            "channels_last": True,
        }

    def _litmus(
        self, runner: Runner, case: Case, name: str, epochs: int, compiled: bool
    ) -> tuple[list[float], list[float], float]:
        run = runner.folder / name
        overrides = [*self._overrides(case), f"trainer.max_epochs={epochs}", f"output_dir={run}"]
        try:
            if compiled:
                runner.train(*overrides, "trainer.compile=true", extra=self.compiler_cache)
            else:
                runner.train(*overrides)
            return litmus_seconds(run, case.steps, case.epoch_steps)
        finally:
            shutil.rmtree(run, ignore_errors=True)

    def _overrides(self, case: Case) -> list[str]:
        """Litmus with all that train.py does by default, on the other contestants' network and optimizer settings."""
        overrides = ["data=arrays", f"data.path={self.arrays(case)}", f"data.val_size={case.val_size}"]
        overrides += [f"data.batch_size={case.batch_size}", f"trainer.log_every_n_steps={case.steps}"]
        overrides += [f"accelerator={'gpu' if self.device == 'cuda' else 'cpu'}"]
        overrides += [f"accelerator.precision={case.precision}", "accelerator.channels_last=true"]
        overrides += [f"model={case.model}", "optim=adam", "optim.lr=1e-3", "scheduler=constant"]
        overrides += ["model.input_dropout=0"] if case.model == "mlp" else []
        overrides += ["model.small_stem=true"] if case.small_stem else []
        return [*overrides, "callbacks.early_stopping=null", "test=false"]

    def arrays(self, case: Case) -> Path:
        return write_images(case, self.runner.folder)

    def summary(self, name: str, contestant: str) -> str:
        found = self.measurements[name, contestant]
        if not found.windows:
            return found.failure or "not run"
        return f"{figures(statistics.median(found.rates(self.cases[name].steps)))} steps/s"

    def tables(self) -> list[str]:
        return [self._table(name) for name in self.cases]

    def _table(self, name: str) -> str:
        case = self.cases[name]
        layout = "" if case.model == "mlp" else ", channels_last"
        precision = {"32-true": "fp32", "bf16-mixed": "bf16"}[case.precision]
        measured = {contestant: self.measurements[name, contestant] for contestant in self.contestants}
        reference = measured.get("eager")
        lines = [
            f"**{case.title}, {precision}{layout}, batch {case.batch_size}**: {case.images:,} images, windows of "
            f"{case.steps} steps\n",
            "| | steps/s: median | minimum | maximum | relative to the eager loop | whole epochs, steps/s | warm-up, s "
            "| rounds |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [row(CONTESTANTS[key], found, case, reference) for key, found in measured.items()]
        return "\n".join(lines)


def row(title: str, found: Measurement, case: Case, reference: Measurement | None) -> str:
    if not found.windows:
        return f"| {title} | {cell(found.failure or 'not run: no time left (--minutes)')} | | | | | | |"
    rates = found.rates(case.steps)
    median = statistics.median(rates)
    cells = [figures(median), figures(min(rates)), figures(max(rates))]
    eager = reference.rates(case.steps) if reference is not None else []
    cells.append(f"{median / statistics.median(eager):.2f}" if eager else "")
    cells.append(figures(case.epoch_steps / statistics.median(found.epochs)))
    cells.append("" if found.warm_up is None else f"{max(0.0, found.warm_up):.1f}")
    return f"| {title} | {' | '.join(cells)} | {found.rounds} |"


def figures(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def litmus_seconds(run: Path, steps: int, epoch_steps: int) -> tuple[list[float], list[float], float]:
    """Seconds of the windows, of the epochs and of the first epoch, from the times in a run's event files.

    train/loss_step is logged every `steps` steps and at an epoch's last step, once the values are on the CPU, so its
    times are synchronized. The first epoch is counted from the first event, which precedes moving data to the device.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    ends = [event.wall_time for event in events.Scalars("train/loss")]
    marks = [(event.step, event.wall_time) for event in events.Scalars("train/loss_step")]
    windows = [
        after - before
        for (first, before), (last, after) in itertools.pairwise(marks)
        if last - first == steps and first % epoch_steps != 0 and first > epoch_steps
    ]
    epochs = [after - before for before, after in itertools.pairwise(ends)]
    return windows, epochs, ends[0] - events.FirstEventTimestamp()
