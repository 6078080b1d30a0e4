"""One of each kind of thing is added as the README says, in files of the user's own."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import ROOT

FILES = {
    "parts_under_test.py": """
        import pytorch_lightning as pl
        import torch
        from torch import nn
        from litmus.models.classifier import Classifier
        from litmus.penalties import Penalty


        class Maxout(Classifier):
            def __init__(self, num_classes, image_shape, pieces, **parts):
                inputs = image_shape[0] * image_shape[1] * image_shape[2]
                hidden = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 10 * pieces), nn.MaxPool1d(pieces))
                super().__init__(nn.Sequential(hidden, nn.Linear(10, num_classes)), num_classes, **parts)


        class SmoothL1(Penalty):
            def omega(self, weight):
                return (weight.square() + 1e-6).sqrt().sum()


        class Hinge(nn.Module):
            def forward(self, logits, target):
                return nn.functional.multi_margin_loss(logits, target)


        class Farewell(pl.Callback):
            def on_train_end(self, trainer, pl_module):
                print("farewell")
        """,
    "conf/model/maxout.yaml": "_target_: parts_under_test.Maxout\npieces: 3\n",
    "conf/penalty/smooth_l1.yaml": "_target_: parts_under_test.SmoothL1\nweight: 1e-4\n",
    "conf/loss/hinge.yaml": "_target_: parts_under_test.Hinge\n",
    "conf/optim/radam.yaml": "_target_: torch.optim.RAdam\n_partial_: true\nlr: 1e-3\n",
    "conf/scheduler/polynomial.yaml": """
        interval: step
        scheduler:
          _target_: torch.optim.lr_scheduler.PolynomialLR
          _partial_: true
          total_iters: null
          power: 2.0
        """,
    "conf/callbacks/polite.yaml": "defaults: [default]\nfarewell:\n  _target_: parts_under_test.Farewell\n",
    "conf/data/qmnist.yaml": """
        defaults: [/in_memory@_here_]
        _target_: litmus.data.InMemory
        name: qmnist
        source:
          _target_: parts_under_test_data.Tiny
          _partial_: true
        num_classes: 3
        image_shape: [3, 8, 8]
        """,
    "parts_under_test_data.py": """
        import torch


        class Tiny:
            classes = ["red", "green", "blue"]

            def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
                self.data = torch.zeros(60, 8, 8, 3, dtype=torch.uint8).numpy()
                self.targets = [i % 3 for i in range(60)]
                for i in range(60):
                    self.data[i, :, :, i % 3] = 200
        """,
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    return tmp_path


def test_one_file_each_adds_a_part_of_every_kind(project):
    options = ["model=maxout", "penalty=smooth_l1", "loss=hinge", "optim=radam", "scheduler=polynomial",
               "callbacks=polite", "data=qmnist"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config-dir", "conf", *options, "data.batch_size=8",
         "trainer.max_epochs=20", "optim.lr=0.01", "model.pieces=2", "output_dir=run"],
        cwd=project, env=_with_path(project), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Maxout with" in done.stdout
    assert "farewell" in done.stdout
    load = "import litmus; m = litmus.load('run', trust=['parts_under_test'])"
    load += "; print(type(m.model).__name__, m.class_names)"
    loaded = subprocess.run(
        [sys.executable, "-c", load], cwd=project, env=_with_path(project), capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "Maxout ['red', 'green', 'blue']"


def _with_path(project: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(project) + os.pathsep + os.environ.get("PYTHONPATH", "")}
