"""Every published experiment composes as its commands say it, and trains."""

import pytest
import torch
from conftest import ROOT, composed, weights
from picture_files import folder

from figures import AXES
from protocol import load

PUBLISHED = [load(file, ROOT / "outputs") for file in sorted((ROOT / "docs" / "experiments").glob("*.yaml"))]
FOLDER = ROOT / "conf" / "experiment"
FILES = sorted({file.stem for one in PUBLISHED for file in FOLDER.glob(f"{one.config}.yaml")} | {"d_quadratic"})
PICTURES = [name for name in FILES if name.startswith("f_stand_in")]
SHORT = ("trainer.max_steps=2", "trainer.max_epochs=1", "trainer.limit_val_batches=1", "logger=none")
SMALL = ("data=synthetic", "data.num_images=64", "data.train_size=null", "data.test_size=null", "accelerator=cpu")
OWN = {  # what there is too little of, or no network for
    "b_activations": ["data.val_size=8", "data.batch_size=8"],
    "f_fine_tuning": ["data.val_size=8", "data.image_size=32", "model.weights=null", "data.image_shape=[3,32,32]"],
}
ROWS = [(one.name, row, overrides) for one in PUBLISHED for row, overrides in one.rows.items()]


def named(overrides: str) -> list[str]:
    """With a name in place of a run that is started from."""
    return overrides.replace("{", "RUN_").replace("}", "").split()


@pytest.mark.parametrize("name", sorted({*FILES} - {*PICTURES}))
def test_every_experiment_trains_two_steps_and_is_tested(train, name):
    run = train(*SHORT, *SMALL, f"experiment={name}", *OWN.get(name, []), small=False)
    assert run.result["epochs"] == 1
    assert "test/acc" in run.result["last"] | run.result["metrics"]


def test_the_pretrained_stand_in_unfreezes_from_head_to_all_layers(train, tmp_path):
    animals = ("bird", "cat", "deer", "dog", "frog", "horse")
    vehicles = ("airplane", "automobile", "ship", "truck")
    for part in ("train", "test"):
        folder(tmp_path / "data" / "cifar10" / part, **dict.fromkeys(animals + vehicles, 6))
    small = (*SHORT, "accelerator=cpu", "accelerator.threads=1", "data.image_size=32", "data.batch_size=8")
    begin = ("experiment=f_stand_in", *small, "data.train_size=24", "data.val_size=8")
    backbone = train("experiment=f_stand_in_backbone", *small, "data.train_size=30", small=False)
    head = train(*begin, f"model.weights={backbone.path}", small=False)
    whole = train(*begin, "model.freeze=false", f"model.init_from={head.path}", small=False)
    assert {"test/acc", "val/acc"} <= {*backbone.result["metrics"]} & {*head.result["metrics"]}
    first, same, other = (weights(run.path)["network.backbone.conv1.weight"] for run in (backbone, head, whole))
    assert torch.equal(first, same)
    assert not torch.equal(same, other)


@pytest.mark.parametrize(("name", "row", "overrides"), ROWS, ids=[f"{name}: {row}" for name, row, _ in ROWS])
def test_every_row_composes(name, row, overrides):
    assert composed(*named(overrides)) is not None


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_every_row_has_a_figure_for_each_measure(one):
    for table in one.tables:
        for name, _, *published in table["rows"]:
            assert len(published) == len(table["measures"]), name


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_every_curve_has_a_name_for_its_axis_and_rows_that_there_are(one):
    for figure in one.figures:
        assert {*figure.get("metrics", ())} <= {*AXES}
        assert {*figure.get("rows", ())} <= {*one.rows}


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_the_rows_are_what_the_sweeps_run(one):
    from itertools import product

    from hydra.core.override_parser.overrides_parser import OverridesParser

    jobs = set()
    for sweep in one.sweeps:
        values = []
        for override in OverridesParser.create().parse_overrides(named(sweep)):
            swept = override.is_sweep_override()
            texts = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
            values.append([f"{override.key_or_group}={text}" for text in texts])
        jobs |= {_key(combination) for combination in product(*values)}
    rows = {_key(named(overrides)) for overrides in one.rows.values()}
    assert jobs == rows


def _key(overrides) -> frozenset[str]:
    def same(value: str) -> str:
        try:
            return repr(float(value))
        except ValueError:
            return value.lower()

    return frozenset(f"{key}={same(value)}" for key, value in (o.split("=", 1) for o in overrides))
