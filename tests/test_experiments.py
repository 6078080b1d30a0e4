"""Every published experiment composes as its commands say it, and trains."""

import pytest
from conftest import ROOT, composed

from litmus.reproduction.protocol import load

PUBLISHED = [load(file, ROOT / "outputs") for file in sorted((ROOT / "docs" / "experiments").glob("*.yaml"))]
FOLDER = ROOT / "conf" / "experiment"
FILES = sorted({file.stem for one in PUBLISHED for file in FOLDER.glob(f"{one.config}.yaml")} | {"d_quadratic"})
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


@pytest.mark.parametrize("name", FILES)
def test_every_experiment_trains_two_steps_and_is_tested(train, name):
    run = train(*SHORT, *SMALL, f"experiment={name}", *OWN.get(name, []), small=False)
    assert run.result["epochs"] == 1
    assert "test/acc" in run.result["last"] | run.result["metrics"]


@pytest.mark.parametrize(("name", "row", "overrides"), ROWS, ids=[f"{name}: {row}" for name, row, _ in ROWS])
def test_every_row_composes(name, row, overrides):
    assert composed(*named(overrides)) is not None


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_every_row_has_a_figure_for_each_measure(one):
    for table in one.tables:
        for name, _, *published in table["rows"]:
            assert len(published) == len(table["measures"]), name


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
