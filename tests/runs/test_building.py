"""What is wrong with a file or a class of one's own is said in a sentence."""

import re
from textwrap import dedent

import pytest
from conftest import composed
from omegaconf import OmegaConf

from litmus.errors import ConfigError
from litmus.models import MLP
from litmus.runs import build, build_model
from litmus.runs.constructor_arguments import check_arguments, unknown_argument


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("absent.Model", "ModuleNotFoundError: No module named 'absent'"),
        ("whole.Model", "ModuleNotFoundError: No module named 'whole.Model'; 'whole' is not a package"),
        ("broken.Model", "SyntaxError: "),
        ("needy.Model", "ModuleNotFoundError: No module named 'absent'"),
    ],
)
def test_a_target_that_cannot_be_imported_says_why(tmp_path, monkeypatch, target, reason):
    (tmp_path / "whole.py").write_text("")
    (tmp_path / "broken.py").write_text("class Model(:")
    (tmp_path / "needy.py").write_text("import absent")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as raised:
        build(OmegaConf.create({"_target_": target}))
    assert str(raised.value).startswith(f"_target_: {target} cannot be imported ({reason}")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("Plain", {"init_fron": "a"}, r"model.init_fron is not an argument of own\.Plain \(did you mean init_from\?\)"),
        ("WithoutParts", {}, r"own\.WithoutParts doesn't fit its options: .* unexpected keyword argument 'loss'"),
    ],
)
def test_an_option_that_a_model_does_not_take_is_named(tmp_path, monkeypatch, name, options, reason):
    (tmp_path / "own.py").write_text(
        dedent("""
        from litmus.models.classifier import Classifier


        class Plain(Classifier):
            def __init__(self, num_classes, image_shape, **parts):
                super().__init__(None, num_classes, **parts)


        class WithoutParts(Classifier):
            def __init__(self, num_classes, image_shape):
                super().__init__(None, num_classes)
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = composed()
    cfg.model = {"_target_": f"own.{name}", **options}
    with pytest.raises(ConfigError, match=reason):
        build_model(cfg, 10, (1, 28, 28))


def test_a_type_error_of_a_models_own_code_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(MLP, "__init__", lambda self, **options: len(5))
    with pytest.raises(TypeError, match="has no len"):
        build_model(composed(), 10, (1, 28, 28))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "+loss.ignore_indx=3",
            r"loss.ignore_indx is not an argument of torch.nn.CrossEntropyLoss .*mean ignore_index",
        ),
        ("+optim.epsilon=3", r"optim.epsilon is not an argument of torch.optim.Adam.*: it takes .*betas, eps, "),
        ("+scheduler.scheduler.verbose=true", "scheduler.scheduler.verbose is not an argument of .*OneCycleLR"),
        ("+model.hiden=[3]", r"model.hiden is not an argument of litmus.models.MLP .did you mean hidden"),
        ("+model.num_clases=3", r"litmus.models.MLP: it takes hidden, batch_norm"),
        ("+optim.param=3", r"torch.optim.Adam: it takes lr, betas"),
        ("+scheduler.scheduler.optimizr=1", r"OneCycleLR: it takes max_lr, total_steps"),
        ("+penalty.factor=1", "penalty.factor is not an argument of litmus.penalties"),
    ],
)
def test_an_unknown_added_argument_is_answered_with_the_valid_ones(override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_model(composed(override), 10, (1, 28, 28))


def test_an_added_argument_reaches_its_target():
    model = build_model(composed("+loss.ignore_index=3", "+optim.eps=0.25"), 10, (1, 28, 28))
    assert (model.loss.ignore_index, model.optim.keywords["eps"]) == (3, 0.25)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["+data.source.rot=1"], r"litmus.data.sources.MNIST: it takes none"),
        (["+data.nam=mine"], r"litmus.data.InMemory \(did you mean name\?\)"),  # the option file has it
    ],
)
def test_no_argument_is_suggested_that_litmus_passes_itself(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_arguments(composed(*overrides).data)


def test_what_a_data_module_passes_to_its_base_class_is_not_suggested():
    node = composed("data=image_folder", "data.root=x", "+data.num_clases=3").data
    assert re.search("it takes root, .*duplicates, batch_size, ", unknown_argument(node, "num_clases"))


ADAM = {"_target_": "torch.optim.Adam", "lr": 0.5}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 2}


def test_optimizer_and_scheduler_without_partial_are_built_as_partials():
    cfg = composed()
    before = OmegaConf.to_container(cfg)
    cfg.optim, cfg.scheduler = ADAM, {"scheduler": STEP}
    model = build_model(cfg, 10, (1, 28, 28))
    optimizer = model.optim(model.parameter_groups())
    assert (type(optimizer).__name__, optimizer.defaults["lr"]) == ("Adam", 0.5)
    assert model.scheduler["interval"] == "epoch"
    assert model.scheduler["scheduler"](optimizer).step_size == 2
    assert OmegaConf.to_container(cfg) == {**before, "optim": ADAM, "scheduler": {"scheduler": STEP}}


def test_schedulers_inside_another_may_lack_partial_too():
    cfg = composed()
    target = "torch.optim.lr_scheduler.SequentialLR"
    cfg.scheduler = {"scheduler": {"_target_": target, "schedulers": [STEP, STEP], "milestones": [3]}}
    assert len(build_model(cfg, 10, (1, 28, 28)).scheduler["scheduler"].keywords["schedulers"]) == 2


def test_a_scheduler_at_the_top_of_its_file_is_refused():
    cfg = composed()
    cfg.scheduler = STEP
    with pytest.raises(ConfigError, match="below `scheduler:`, and beside it `interval: epoch`"):
        build_model(cfg, 10, (1, 28, 28))
