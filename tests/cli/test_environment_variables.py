"""Values that come from the environment."""

import pytest
from conftest import CONF, composed
from omegaconf import OmegaConf

from litmus.cli.overrides import check
from litmus.errors import ConfigError, number, whole_number
from litmus.runs.identity import resolve_environment


def test_a_string_for_a_number_is_answered_with_oc_decode(monkeypatch):
    monkeypatch.setenv("LR", "0.05")
    with pytest.raises(ConfigError, match=r"optim.lr=0.05 does not fit.*\$\{oc.decode:\$\{oc.env:NAME\}\}"):
        check(["optim.lr=${oc.env:LR}"], CONF)
    check(["optim.lr='${oc.decode:${oc.env:LR}}'", "output_dir=${oc.env:LR}"], CONF)
    for accepts in (number, whole_number):
        with pytest.raises(ConfigError, match=r"\$\{oc.decode:"):
            accepts("optim.lr", "0.05", least=0)
        with pytest.raises(ConfigError, match=r"a is 'fast', and must be a (whole )?number of 0 or more$"):
            accepts("a", "fast", least=0)


def test_stored_config_resolves_the_environment_and_keeps_references(monkeypatch):
    monkeypatch.setenv("LR", "0.05")
    cfg = composed("optim.lr='${oc.decode:${oc.env:LR}}'")
    stored = resolve_environment(cfg)
    monkeypatch.delenv("LR")
    assert stored.optim.lr == 0.05
    assert OmegaConf.to_container(stored)["data"]["seed"] == "${seed}"
    assert OmegaConf.is_interpolation(cfg.optim, "lr")  # the original is left alone


def test_a_run_resumes_without_the_variable_that_started_it(train, monkeypatch):
    quick = ("data.num_images=60", "trainer.max_epochs=1", "logger=none", "callbacks=none", "scheduler=constant")
    monkeypatch.setenv("LR", "0.05")
    train(*quick, "optim.lr='${oc.decode:${oc.env:LR}}'", "output_dir=run")
    monkeypatch.delenv("LR")
    assert train("resume=run", "trainer.max_epochs=2", small=False).result["epochs"] == 2
