"""What computing a frozen backbone's features once saves on this machine, in one run and one table:

python scripts/frozen.py                  a frozen ResNet-18, 10,000 pictures of 64 px, 10 epochs
python scripts/frozen.py --images 2000    the same on fewer
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from litmus import cli
from litmus.errors import StoppedRun, whole_number

ROOT = Path(__file__).resolve().parents[2]


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    compare(*(whole_number(f"--{name}", getattr(args, name), least=1) for name in ("images", "epochs", "threads")))


def compare(images: int, epochs: int, threads: int) -> None:
    """`train.py` on 64 px pictures with the cache and without, against what can't be saved: one pass of the backbone
    over the same images, and a plain loop that trains the same head on what it gave."""
    overrides = [
        *("data=synthetic", f"data.num_images={images}", "data.image_shape=[3,64,64]", "model=resnet"),
        *("model.freeze=true", f"trainer.max_epochs={epochs}", "callbacks.early_stopping=null", "test=false"),
        *("accelerator=cpu", f"accelerator.threads={threads}"),
    ]
    forward, head = least_possible(overrides, epochs, threads)
    seconds = {
        "one pass of the backbone": forward,
        f"a plain loop for the head, {epochs} epochs": head,
        "train.py, features computed once": trained(overrides),
        "train.py, callbacks.frozen_features=null": trained([*overrides, "callbacks.frozen_features=null"]),
    }
    with_it, without = list(seconds.values())[2:]
    print(f"ResNet-18, frozen, {images:,} images of 64 px, {epochs} epochs, {threads} threads\n")
    for name, value in seconds.items():
        print(f"{name:<44}{value:8.1f} s")
    print(
        f"\ncomputed once, it takes {with_it / (forward + head):.2f} times the pass and the loop, and is "
        f"{without / with_it:.1f} times faster than without"
    )


def least_possible(overrides: list[str], epochs: int, threads: int) -> tuple[float, float]:
    """Seconds for the backbone's pass over the training and the validation images, and for the head alone."""
    import torch
    from hydra import compose, initialize_config_dir

    from litmus.runs import build, build_model

    torch.set_num_threads(threads)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides)
    data = build(cfg.data)
    model: Any = build_model(cfg, data.num_classes, data.image_shape)
    data.setup()
    with torch.no_grad():
        model.features(next(iter(data.batches("val")))[0])  # warm-up
        start = time.perf_counter()
        found = [model.features(images) for part in ("val", "train") for images, _ in data.batches(part)]
    forward = time.perf_counter() - start
    labels = data.parts["train"][1]
    features = torch.cat(found)[-len(labels) :]
    optimizer = torch.optim.Adam(model.head.parameters())
    start = time.perf_counter()
    for _ in range(epochs):
        for index in torch.randperm(len(labels)).split(data.batch_size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model.head(features[index]), labels[index]).backward()
            optimizer.step()
    return forward, time.perf_counter() - start


def trained(overrides: list[str]) -> float:
    """Seconds that train.py needs, logging, validation and checkpoints included, without its start."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(ROOT / "train.py"), *overrides, f"output_dir={directory}/run"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise StoppedRun(f"train.py ended with exit status {ended.returncode}: {ended.stderr.strip()}")
        return float(json.loads(Path(directory, "run", "result.json").read_text())["seconds"])


if __name__ == "__main__":
    main()
