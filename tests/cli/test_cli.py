"""The command line, as its user meets it."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import CONF, ROOT

from litmus import cli
from litmus.cli.overrides import check
from litmus.core.console_log import ConsoleHandler
from litmus.errors import ConfigError


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def assert_one_sentence(done: subprocess.CompletedProcess, sentence: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def test_a_script_finds_a_module_of_ones_own_beside_train_py(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "train.py").touch()
    (tmp_path / "own.py").write_text("name = 'found'")
    lines = ("from litmus import cli", "def main():", "    import own", "    print(own.name)", "cli.script(main)()")
    (tmp_path / "scripts" / "show.py").write_text("\n".join(lines))
    command = [sys.executable, str(tmp_path / "scripts" / "show.py")]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "found\n"


@pytest.mark.parametrize(("error", "shown"), [(BrokenPipeError, False), (ValueError, True)])
def test_a_screen_that_nobody_reads_any_more_is_no_error(capsys, error, shown):
    class Closed:
        def write(self, text):
            raise error

        def flush(self):
            pass

    ConsoleHandler(Closed()).handle(logging.makeLogRecord({"msg": "epoch 1"}))
    assert ("Traceback" in capsys.readouterr().err) is shown


FIRST_TIER = [
    (["optim=adm"], "optim=adm does not exist: did you mean optim=adam?"),
    (["optim=xyz"], "choose one of adagrad, adam"),
    (["optin=adam"], "did you mean optim?"),
    (["model.hiden=[10]"], "model.hiden does not exist: did you mean model.hidden?"),
    (["--lr=0.1"], "--lr=0.1 is not known: values are set without dashes, as in lr=VALUE"),
    (["--resume", "outputs/run"], "as in resume=VALUE"),
    (["epochs=3"], "epochs does not exist: did you mean trainer.max_epochs?"),
    (["lr=0.1"], "lr does not exist: did you mean optim.lr?"),
    (["model=cnn", "model.input_dropout=0.1"], "model.input_dropout is an option of model=mlp only: choose that"),
    (["model=cnn", "model.input_dropout=0.1"], "+model.input_dropout=VALUE"),
    (["optim.lr=" + "1" * 5000], "fewer digits"),
    (["model.hidden=[" + "1" * 5000 + "]"], "fewer digits"),
    (["+foo=1"], "+foo=1: there is no option foo"),
    (["+trainer.compile=true"], "trainer.compile is there already: leave out the +"),
    (["+callbacks.mine.rate=1"], "nothing is called callbacks.mine; add it with +callbacks.mine._target_=CLASS"),
    (["+callbacks.mine={rate:1}"], "there is no option callbacks.mine"),
    (["+scheduler.strict=false"], "there is no option scheduler.strict"),
    (["callbacks.test_curve.images=1"], "callbacks.test_curve is a part of callbacks=test_curve only; choose that"),
    (["callbacks=[default,test_curv]"], "callbacks=test_curv does not exist: did you mean callbacks=test_curve?"),
    (["callbacks=[]"], "callbacks=[] combines nothing: write callbacks=none"),
    (["model=[mlp,cnn]"], "only callbacks and logger can: choose one; with -m, model=mlp,cnn runs each"),
    (["-m", "loss=cross_entropy,label_smoothing", "+loss.label_smoothing=0"], "write ++loss.label_smoothing"),
    (["-m", "callbacks=[none,test_curve],none", "callbacks.test_curve=null"], "does not exist with callbacks=none"),
    (["+optim=adam"], "set optim=OPTION, without the +"),
    (["penalty.weight=1"], "penalty.weight is an option of penalty=elastic_net and l1 and l2 only: choose that"),
    (["optim.lr=fast"], "optim.lr=fast does not fit: optim.lr takes a number, such as 0.002"),
    (["trainer.max_epochs=2.5"], "takes a whole number"),
    (["optim.fused=2"], "takes true or false"),
    (["model.hidden=10"], "takes a list"),
    (["model.activation=3"], "takes a word"),
    (["model.dropout=null"], "model.dropout=null does not fit"),
    (["experiment=finetune_frozen", "data.root=pictures", "model.freeze=null"], "model.freeze=null does not fit"),
    (["model.dropout=true"], "takes a number"),
    (["callbacks.early_stopping=5"], "takes a group of options"),
    (["seed=0,1"], "seed=0,1 names several values: add -m"),
    (["-m", "seed=0,1", "seed=2,3"], "seed is swept twice, seed=0,1 and seed=2,3"),
    (["-m", "optim=sgd,adam", "optim=sgd,adamw"], "optim is swept twice"),
    (["-m", "optim=sgd,adm"], "did you mean optim=adam?"),
    (["-m", "optim.lr=0.1,fast"], "optim.lr=fast does not fit"),
    (["-m", "model=mlp,cnn", "model.channels=[8,8]"], "model=mlp model.channels=[8,8] is not possible"),
    (["-m", "optim=sgd,adam", "optim.momentum=0.9"], "optim.momentum does not exist with optim=adam: give that a comm"),
    (["-m", "optim=adam,sgd", "optim.momentum=0.8,0.9"], "optim=adam optim.momentum=0.8,0.9 is not possible"),
    (["-m", "data.batch_size=interval(16,64)"], "takes a whole number, so write int(interval(A,B))"),
    (["optim=null"], "optim=null is not an option: leave optim out, or choose one of adagrad, adam"),
    (["experiment=null"], "experiment=null is not an option: leave experiment out"),
    (["penalty=null"], "penalty=null is not an option: write penalty=none"),
    (["callbacks=[default,null]"], "callbacks=null is not an option: write callbacks=none"),
    (["-m", "penalty=l1,null"], "write penalty=none"),
    (["-m", "model=glob(zz*)"], "model=glob(zz*) matches none of cnn, mlp, resnet"),
    (["-m", "optim.lr=interval(0,inf)"], "optim.lr=interval(0,inf) has an infinite end: write two numbers"),
    (["-m", "optim.lr=tag(log,interval(nan,1))"], "has an infinite end"),
    (["hydra/launcher=null"], "hydra/launcher=null is not an option: leave it out"),
    (["~seed"], "~seed removes what every run needs: leave it out, or set seed=VALUE"),
    (["-m", "seed=range(0,5,0)"], "seed=range(0,5,0) never ends"),
    (["-m", "optim.lr=range(0,nan)"], "never ends"),
    (["-m", "seed=range(inf)"], "never ends"),
    (["-m", "seed=range(10000000000)"], "has more than 100,000 values: write a larger step"),
    (["-m", "seed=choice(choice(1,2),3)"], "has a sweep inside another: list the values as seed=A,B,C"),
    (["-m", "seed=choice()"], "'seed=choice()' cannot be read"),
    (["-m", "jobs=1,2"], "a sweep has one jobs"),
    (["jobs=2"], "jobs=2 is for a sweep, and this is a single run: add -m"),
    (["sampler=tpe"], "sampler=tpe is for a search, and this is a single run; set what to search"),
    (["-m", "sweep=mpl"], "did you mean sweep=mlp?"),
    (["-m", "seed=0,1", "--cfg=job"], "-m and --cfg cannot go together"),
    (["optim"], "'optim' cannot be read: write key=value"),
    (["data=arrays"], "data.path has no default; set data.path=VALUE"),
]  # fmt: skip


@pytest.mark.trust
@pytest.mark.parametrize(
    ("arguments", "sentence"), FIRST_TIER, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_mistyped_command_is_answered_with_the_mend(arguments, sentence):
    with pytest.raises(ConfigError) as caught:
        check(arguments, CONF)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=finetune_frozen", "data.root=pictures", "model.weights=null"],  # which the experiment sets
        ["model=cnn", "optim=adam"],
        ["optim.lr=1e-3", "optim.lr=1", "model.hidden=[10]", "data.val_size=5000"],
        ["data.train_size=1000", "trainer.gradient_clip_val=0.5", "callbacks.early_stopping=null"],
        ["-m", "penalty=l1,l2", "penalty.weight=1e-4,1e-3", "seed=0,1,2", "model.hidden=[10],[20]"],
        ["-m", "seed=range(5)", "optim.lr=choice(0.1,0.2)"],
        [
            "+loss.ignore_index=3",
            "+optim.eps=1e-4",
            "+callbacks.early_stopping.strict=false",
            "+trainer.benchmark=true",
        ],
        ["+callbacks.mine._target_=mine.EMA", "+callbacks.mine.decay=0.9", "+callbacks.other={_target_:mine.Other}"],
        ["callbacks=[none,test_curve]", "callbacks.test_curve.training_images=5", "++optim.lr=1"],
        ["-m", "callbacks=[none,test_curve],[default]", "loss=cross_entropy,label_smoothing", "+loss.ignore_index=3"],
        ["optim.lr=${penalty.weight}", "~callbacks.early_stopping"],
        ["data=arrays", "data.path=mine.npz"],
        ["resume=outputs/2026-11-21/10-00-00-model-cnn+optim-adam-0a1b2c"],
        ["hydra.verbose=true"],
    ],
    ids=" ".join,
)
def test_a_right_command_passes(arguments):
    check(arguments, CONF)


@pytest.mark.trust
@pytest.mark.parametrize("arguments", [["optim=adm"], ["model.hiden=[10]"], ["+foo=1"], ["optim.lr=fast"]])
def test_the_first_answer_comes_without_torch_and_leaves_nothing_behind(tmp_path, arguments):
    done = command(*arguments, cwd=tmp_path)
    assert_one_sentence(done, arguments[0].split("=")[0])
    assert list(tmp_path.iterdir()) == []
    probe = "import sys, litmus.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


@pytest.mark.trust
def test_a_value_out_of_range_is_one_sentence_too(tmp_path):
    done = command("accelerator=cpu", "penalty=l1", "penalty.weight=-1", cwd=tmp_path)
    assert_one_sentence(done, "penalty.weight is -1, and must be a number of 0 or more")
    assert not list(tmp_path.rglob("run.json"))


def test_a_launchers_option_out_of_range_is_told_without_hydras_frame(tmp_path):
    done = command("-m", "jobs=0", "seed=0,1", cwd=tmp_path)
    assert done.stderr == "error: jobs is 0, and must be a whole number of 1 or more\n"


def test_a_fault_of_ours_shows_its_traceback(tmp_path):
    (tmp_path / "broken.py").write_text("def optimizer(params, lr):\n    raise KeyError('a fault')\n")
    (tmp_path / "conf" / "optim").mkdir(parents=True)
    (tmp_path / "conf" / "optim" / "broken.yaml").write_text("_target_: broken.optimizer\n_partial_: true\nlr: 1\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "--config-dir", str(tmp_path / "conf"), "optim=broken"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_help_shows_the_groups_and_the_first_commands(tmp_path):
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "python train.py model=cnn optim=adam" in done.stdout
    assert "optim: adagrad, adam, adamw, momentum, nesterov, rmsprop, sgd" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_whole_config_can_be_shown(tmp_path):
    done = command("model=cnn", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert "_target_: litmus.models.CNN" in done.stdout


def test_train_py_reads_in_sixty_lines():
    assert len((ROOT / "train.py").read_text().splitlines()) < 60


def test_a_run_ends_with_its_figures_and_its_directory(tmp_path):
    started = time.time()
    done = command("data=synthetic", "trainer.max_epochs=1", "accelerator=cpu", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    *_, train, val, test, blank, path = done.stdout.splitlines()
    assert [line.split()[0] for line in (train, val, test)] == ["train", "val", "test"]
    assert blank == ""
    run = tmp_path / path
    assert run.parent.parent == tmp_path / "outputs"
    assert (run / "result.json").stat().st_mtime >= started - 1
    files = {str(file.relative_to(run)) for file in run.rglob("*") if file.is_file() and "events" not in file.name}
    assert files - {"code.patch"} == {
        ".hydra/config.yaml", ".hydra/overrides.yaml", ".lock", "run.json", "train.log", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "metrics.csv", "result.json", "tensorboard/hparams.yaml",
            "test/confusion_matrix.csv", "test/confusion_matrix.png",
    }  # fmt: skip
    assert "epoch 1/1" in (run / "train.log").read_text()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        MemoryError("Unable to allocate 9 GiB of memory"),
        RuntimeError("Storage size calculation overflowed with sizes=[100, 4611686014132420609]"),
    ],
    ids=["cuda", "cpu", "beyond 64 bits"],
)
def test_out_of_memory_is_answered_with_what_needs_less(error, capsys):
    @cli.script
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "out of memory" in (said := capsys.readouterr().err)
    assert "set a smaller data.batch_size" in said
