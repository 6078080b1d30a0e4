"""What is swept, read from Hydra's syntax."""

import pytest
from conftest import CONF
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from litmus.errors import ConfigError
from litmus.sweeps import space
from litmus.sweeps.space import Interval


def read(*arguments: str, **params):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return space.read(OmegaConf.create(params), list(arguments), GlobalHydra.instance().config_loader())


def test_a_grid_is_every_combination_and_its_last_key_changes_fastest():
    found = list(space.grid(read("penalty=l1,l2", "optim.lr=1e-3", "seed=range(0,2)", "model.hidden=[8],[4,4]")))
    assert len(found) == 8
    assert found[0] == {"penalty": "l1", "optim.lr": "0.001", "seed": "0", "model.hidden": "[8]"}
    assert found[1] == {"penalty": "l1", "optim.lr": "0.001", "seed": "0", "model.hidden": "[4,4]"}
    assert found[-1] == {"penalty": "l2", "optim.lr": "0.001", "seed": "1", "model.hidden": "[4,4]"}


def test_the_command_line_stands_in_place_of_the_file():
    found = read(
        "optim.lr=0.1", "n_trials=3", "jobs=2", "hydra.verbose=true", **{"optim.lr": "interval(0,1)", "seed": 3}
    )
    assert found == {"optim.lr": ["0.1"], "seed": ["3"]}
    assert space.fixed(found) == {"optim.lr": "0.1", "seed": "3"}


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("interval(0.1,1)", Interval(0.1, 1.0)),
        ("tag(log,interval(1e-4,1e-1))", Interval(1e-4, 1e-1, log=True)),
        ("int(interval(16,256))", Interval(16, 256, 1)),
        ("int(tag(log,interval(16,256)))", Interval(16, 256, 1, log=True)),
        ("range(1,10,3)", Interval(1, 7, 3, listed=("1", "4", "7"))),
        ("range(10,0,-5)", Interval(5, 10, 5, listed=("10", "5"))),
    ],
)
def test_intervals_and_ranges_become_spans(text, span):
    assert read(f"a={text}") == {"a": span}


def test_the_points_of_a_span_include_its_ends():
    assert Interval(1e-4, 1e-1, log=True).points(4) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert Interval(0.0, 0.5).points(3) == [0.0, 0.25, 0.5]
    assert Interval(1, 4, 1).points(9) == [1, 2, 3, 4]
    assert Interval(1, 7, 3, listed=("1", "4", "7")).points(2) == [1, 4, 7]


def test_a_number_is_shown_with_four_digits_and_stays_inside():
    assert Interval(1e-4, 1e-1).text(0.00123456) == "0.001235"
    assert Interval(0.0, 0.99999).text(0.99999) == "0.99999"
    assert Interval(16, 256, 1).text(17.0) == "17"


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("optim.lr=tag(lin,interval(1,2))", "the only tag known is log"),
        ("optim.lr=tag(log,interval(0,2))", "a logarithmic interval starts above 0"),
        ("optim.lr=interval(2,1)", "is empty: the first end must be the smaller"),
        ("optim.lr=range(2,1)", "has no values"),
    ],
)
def test_an_impossible_span_is_refused(argument, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read(argument)


def test_a_grid_of_an_interval_is_refused():
    with pytest.raises(ConfigError, match="list them as optim.lr=A,B,C, or let a search choose with sampler=tpe"):
        list(space.grid(read("optim.lr=interval(1,2)")))
