"""How long things take on this machine: one run, Markdown tables. Close what else runs.

    python scripts/benchmark epochs                     seconds of an epoch, against the loop one writes by hand
    python scripts/benchmark epochs --cases mlp64 --against hand1 --rounds 3
    python scripts/benchmark start                      from the command to an error, and to a first step
    python scripts/benchmark growth                     with more images, epochs, jobs: time and memory
    python scripts/benchmark frozen                     what computing a frozen backbone's features once saves
    python scripts/benchmark gpu                        steps per second on a GPU, and checks (gpu --help)

The contestants, one program each, are in scripts/benchmark/contestants. They take turns, each in a process of its own;
the first epoch is not counted. An epoch is training and validation. Litmus does all that train.py does by default
(logging, gradient norms, the generalization gap, checkpoints), with the network and learning rate of the others: no
input dropout in the MLP, a constant rate of 1e-3, no early stopping. What isn't installed is left out by name
(pip install scikit-learn skorch keras jax).
"""

import argparse
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from litmus import cli
from litmus.errors import StoppedRun, whole_number
from machine import machine

FOLDER = Path(__file__).resolve().parent
TRAIN = str(FOLDER.parents[1] / "train.py")
# What contestants get. Litmus changes its own, to begin with by hiding CUDA from torch where there is no GPU.
ENVIRONMENT = dict(os.environ)
LIBRARIES = "import torch, pytorch_lightning, torchvision, torchmetrics, hydra, torch.utils.tensorboard"


class Case(NamedTuple):
    title: str
    model: str
    batch_size: int
    images: str  # mnist, or the number of synthetic 32 px pictures in color
    epochs: int
    others: Sequence[str] = ()


EVERYONE = ("litmus2", "compiled", "plain_lightning", "scikit_learn", "skorch_net", "keras_jax")
CASES = {
    "mlp16": Case("MLP, batch 16", "mlp", 16, "mnist", 3, EVERYONE),
    "mlp64": Case("MLP, batch 64", "mlp", 64, "mnist", 4, EVERYONE),
    "mlp512": Case("MLP, batch 512", "mlp", 512, "mnist", 6, EVERYONE),
    "cnn128": Case("CNN, batch 128", "cnn", 128, "mnist", 3, ("compiled", "plain_lightning", "keras_jax")),
    "resnet": Case("ResNet-18, 32 px, batch 64, 2,000 images", "resnet", 64, "2000", 3, ("plain_lightning",)),
    "frozen": Case("the same, frozen except its last layer", "frozen", 64, "2000", 4, ("plain_lightning",)),
}
NEEDS = {"scikit_learn": "sklearn", "skorch_net": "skorch", "keras_jax": "jax"}
NAMES = {
    "hand": "hand-written loop, torch's threads",
    "hand1": "hand-written loop, 1 thread",
    "litmus": "Litmus",
    "litmus2": "Litmus, accelerator.threads=2",
    "compiled": "Litmus, trainer.compile=true accelerator.threads=2",
    "plain_lightning": "plain Lightning, DataLoader",
    "scikit_learn": "scikit-learn",
    "skorch_net": "skorch",
    "keras_jax": "Keras 3 on JAX",
}
OVERRIDES = {
    "litmus": [],
    "litmus2": ["accelerator.threads=2"],
    "compiled": ["trainer.compile=true", "accelerator.threads=2"],
}


@cli.script
def main() -> None:
    if sys.argv[1:2] == ["gpu"]:  # it has options of its own
        from gpu_report import main as gpu

        return gpu(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("epochs", "start", "growth", "frozen", "gpu"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="of epochs; all if left out")
    parser.add_argument(
        "--against",
        nargs="*",
        choices=NAMES,
        default=list(NAMES),
        help="which others; all if left out, and with no name none",
    )
    parser.add_argument("--rounds", type=int, default=5, help="5 if left out")
    args = parser.parse_args()
    rounds = whole_number("--rounds", args.rounds, least=1)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        if args.what == "epochs":
            for name in args.cases:
                epochs(CASES[name], rounds, Path(folder), args.against)
        elif args.what == "start":
            start(rounds, Path(folder))
        elif args.what == "growth":
            growth(Path(folder))
        else:
            from frozen import compare

            compare(images=10_000, epochs=10, threads=1)


def epochs(case: Case, rounds: int, folder: Path, against: Sequence[str]) -> None:
    file, images = arrays(case, folder)
    asked = [name for name in ("hand1", *case.others) if name in against]
    missing = {name for name in asked if name in NEEDS and not importlib.util.find_spec(NEEDS[name])}
    names = ["hand", "litmus", *(name for name in asked if name not in missing)]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            seconds[name].append(statistics.median(one(name, case, file, images, folder)))
    print(f"\n**{case.title}**, seconds of an epoch, {rounds} rounds\n")
    print("| | median | minimum | maximum | against the hand-written loop: median | minimum | maximum |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        ratios = [own / hand for own, hand in zip(seconds[name], seconds["hand"], strict=True)]
        cells = [f"{value:.2f}" for values in (seconds[name], ratios) for value in spread(values)]
        print(f"| {NAMES[name]} | {' | '.join(cells)} |", flush=True)
    for name in sorted(missing):
        print(f"| {NAMES[name]} | not installed |")


def spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def arrays(case: Case, folder: Path) -> tuple[Path, int]:
    """An .npz file of the case's images, and how many they are."""
    file = folder / f"{case.images}.npz"
    if case.images == "mnist":
        from litmus.data.sources import MNIST

        sets = {part: MNIST(train=part == "train") for part in ("train", "test")}
        found = {f"x_{part}": images.data.numpy() for part, images in sets.items()}
        found |= {f"y_{part}": images.targets.numpy() for part, images in sets.items()}
    else:
        random = np.random.default_rng(0)
        sizes = {"train": int(case.images), "test": 100}
        found = {f"x_{k}": random.integers(0, 256, (n, 3, 32, 32), np.uint8) for k, n in sizes.items()}
        found |= {f"y_{k}": np.arange(n) % 10 for k, n in sizes.items()}
    np.savez(file, **found)  # type: ignore[arg-type]
    return file, len(found["y_train"])


def one(name: str, case: Case, file: Path, images: int, folder: Path) -> list[float]:
    """Seconds of each epoch of one contestant after its first."""
    if name in OVERRIDES:
        return litmus(case, file, folder, *OVERRIDES[name])
    given = {"images": str(file), "model": case.model, "batch_size": case.batch_size, "val_size": images // 10}
    given |= {"epochs": case.epochs, "threads": 1 if name == "hand1" else None}
    program = FOLDER / "contestants" / f"{name.removesuffix('1')}.py"
    printed = run([sys.executable, str(program), json.dumps(given)], folder).printed
    return json.loads(printed.strip().splitlines()[-1])[1:]


def litmus(case: Case, file: Path, folder: Path, *overrides: str) -> list[float]:
    with tempfile.TemporaryDirectory(dir=folder) as run_folder:
        run([sys.executable, TRAIN, *asked(case, file), f"output_dir={run_folder}/run", *overrides], folder)
        return epoch_seconds(Path(run_folder, "run"))


def asked(case: Case, file: Path) -> list[str]:
    model = "resnet" if case.model == "frozen" else case.model
    overrides = ["data=arrays", f"data.path={file}", f"data.batch_size={case.batch_size}", f"model={model}"]
    overrides += ["model.freeze=true"] if case.model == "frozen" else []
    overrides += ["model.input_dropout=0"] if case.model == "mlp" else []
    overrides += ["scheduler=constant", "optim.lr=1e-3", "callbacks.early_stopping=null", "accelerator=cpu"]
    return [*overrides, f"trainer.max_epochs={case.epochs}", "test=false"]


def epoch_seconds(run_folder: Path) -> list[float]:
    """From the end of one epoch to the end of the next, by the times in the event files."""
    return [after - before for before, after in itertools.pairwise(logged(run_folder))]


def logged(run_folder: Path) -> list[float]:
    """When a run wrote its training losses."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(run_folder.glob("tensorboard/**/events*")).parent))
    events.Reload()
    return [event.wall_time for event in events.Scalars("train/loss")]


class Ended(NamedTuple):
    printed: str
    seconds: float
    peak: float  # MiB


def run(command: list[str], folder: Path, status: int = 0) -> Ended:
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, cwd=folder, env=ENVIRONMENT)
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        seconds = time.perf_counter() - start
        for file in (out, errors):
            file.seek(0)
        if process.returncode != status:
            last = errors.read().strip().splitlines()[-1:]
            raise StoppedRun(f"{' '.join(command[:3])} ended with exit status {process.returncode}: {' '.join(last)}")
        return Ended(out.read(), seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def start(rounds: int, folder: Path) -> None:
    commands = {
        "importing torch, pytorch_lightning and the other libraries": [sys.executable, "-c", LIBRARIES],
        "`train.py optim=adm`, to the error": [sys.executable, TRAIN, "optim=adm"],
        "`train.py --help`": [sys.executable, TRAIN, "--help"],
        "`train.py trainer.max_steps=1`, to the first step": [],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            status = 2 if "error" in name else 0
            seconds[name].append(run(command, folder, status).seconds if command else first_step(folder))
    print(
        f"\n**The start**, seconds, {rounds} rounds\n\n| | median | minimum | maximum |\n| --- | ---: | ---: | ---: |"
    )
    for name, values in seconds.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in spread(values))} |")


def first_step(folder: Path) -> float:
    """Seconds from the command to the end of the first step, by the time in its event file."""
    with tempfile.TemporaryDirectory(dir=folder) as run_folder:
        start = time.time()
        overrides = ["trainer.max_steps=1", "trainer.limit_val_batches=1", "test=false", f"output_dir={run_folder}/run"]
        run([sys.executable, TRAIN, *overrides], folder)
        return logged(Path(run_folder, "run"))[0] - start


def growth(folder: Path) -> None:
    base = run([sys.executable, "-c", LIBRARIES], folder).peak
    print("\n**Growth**, the default MLP\n\n| images | epochs | whole command, s | peak memory, MiB | data, MiB |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print(f"| the libraries alone | | | {base:.0f} | |")
    for images, number in ((15_000, 2), (30_000, 2), (60_000, 2), (60_000, 4), (60_000, 8), (1_000, 20), (1_000, 200)):
        overrides = [f"data.train_size={images}", f"trainer.max_epochs={number}", "callbacks.early_stopping=null"]
        with tempfile.TemporaryDirectory(dir=folder) as run_folder:
            ended = run([sys.executable, TRAIN, *overrides, f"output_dir={run_folder}/run"], folder)
        data = (images + 10_000) * 28 * 28 / 2**20
        print(f"| {images:,} | {number} | {ended.seconds:.1f} | {ended.peak:.0f} | {data:.0f} |", flush=True)
    print("\n| sweep | side by side | whole command, s | peak memory of the sweep itself, MiB |")
    print("| ---: | ---: | ---: | ---: |")
    for runs, jobs in ((2, 1), (4, 1), (20, 1), (4, 2), (20, 2)):
        seeds = ",".join(map(str, range(runs)))
        command = [sys.executable, TRAIN, "-m", f"seed={seeds}", f"jobs={jobs}", "trainer.max_epochs=3"]
        with tempfile.TemporaryDirectory(dir=folder) as sweep_folder:
            ended = run([*command, f"sweep_name={sweep_folder}/sweep"], folder)
        print(f"| {runs} runs | {jobs} | {ended.seconds:.1f} | {ended.peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
