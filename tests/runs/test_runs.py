"""The run directory: what is in it, when it is refused, taken up again or moved."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL, assert_same, composed, snapshot, weights
from omegaconf import OmegaConf

import litmus
from litmus.errors import ConfigError, StoppedRun
from litmus.runs import build
from litmus.runs.identity import config_hash, experiment
from litmus.runs.provenance import device_label


def metrics(path):
    return (path / "metrics.csv").read_text()


class Killed(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def cut_off(train, monkeypatch):
    """Starts a run that is cut off within its `epoch`-th epoch, after some of its steps."""
    from litmus.training.epoch_seed import EpochSeed

    def run(*overrides, epoch):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch + 1 == epoch and batch_idx == 5:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(EpochSeed, "on_train_batch_end", on_train_batch_end)
            with pytest.raises(Killed):
                train(*overrides)

    return run


def test_the_same_command_gives_the_same_run_to_the_bit(train):
    first, second = train("output_dir=a", "model.dropout=0.3"), train("output_dir=b", "model.dropout=0.3")
    assert metrics(first.path) == metrics(second.path)
    assert_same(weights(first.path), weights(second.path))
    assert first.result["metrics"] == second.result["metrics"]


def test_another_seed_gives_another_run(train):
    first, second = train("output_dir=a"), train("output_dir=b", "seed=1")
    assert metrics(first.path) != metrics(second.path)


SCHEDULES = [
    ("scheduler=constant",),
    ("scheduler=onecycle",),
    ("scheduler=cosine", "optim=momentum"),
    ("scheduler=exponential", "optim=adagrad"),
    ("scheduler=step", "scheduler.scheduler.step_size=2", "optim=rmsprop"),
    ("scheduler=plateau", "scheduler.scheduler.patience=0", "scheduler.scheduler.threshold=10", "optim=sgd"),
    ("model=cnn", "model.channels=[4,4]", "penalty=l1", "optim=adamw", "trainer.accumulate_grad_batches=3"),
    ("callbacks.early_stopping.monitor=val/acc", "callbacks.early_stopping.patience=2", "optim.lr=0.0"),
]


@pytest.mark.trust
@pytest.mark.parametrize("overrides", SCHEDULES, ids=lambda overrides: overrides[0])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(train, cut_off, overrides, epoch):
    overrides = (*overrides, "model.dropout=0.3", "trainer.max_epochs=4")
    whole = train(*overrides, "output_dir=whole")
    cut_off(*overrides, "output_dir=cut", epoch=epoch)
    assert not (whole.path.parent / "cut" / "result.json").exists()
    resumed = train(*overrides, "output_dir=cut")
    assert metrics(resumed.path) == metrics(whole.path)
    for name in ("best", "last"):
        assert_same(weights(resumed.path, name), weights(whole.path, name))
    for key in ("objective", "metrics", "best_epoch", "epochs", "stop_reason"):
        assert resumed.result[key] == whole.result[key]


def test_the_learning_rate_falls_on_a_plateau(train):
    run = train("scheduler=plateau", "scheduler.scheduler.patience=0", "scheduler.scheduler.threshold=10",
                "trainer.max_epochs=4")  # fmt: skip
    with (run.path / "metrics.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([2e-3, 2e-4, 2e-5, 2e-6])


@pytest.mark.trust
def test_a_process_that_was_killed_can_be_started_again(tmp_path, train):
    overrides = [*SMALL, "trainer.max_epochs=30", "model.dropout=0.3", "seed=3", "accelerator.threads=1"]
    script = [sys.executable, str(ROOT / "train.py"), *overrides, f"output_dir={tmp_path / 'killed'}"]
    process = subprocess.Popen(script, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch  5/30"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "killed" / "result.json").exists()
    subprocess.run(script, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)

    threads = torch.get_num_threads()
    whole = train(*overrides[len(SMALL) :], "output_dir=whole")
    torch.set_num_threads(threads)
    assert metrics(tmp_path / "killed") == metrics(whole.path)
    assert_same(weights(tmp_path / "killed"), weights(whole.path))


@pytest.mark.trust
def test_a_finished_run_is_not_run_again_and_says_so(train, caplog):
    first = train("output_dir=a")
    times = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
    caplog.set_level("INFO", logger="litmus")
    caplog.clear()  # of the first run, if another test has left the level at that
    assert train("output_dir=a").objective == first.objective
    assert caplog.messages[0].startswith("this run is already complete")
    assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*")} == times


@pytest.mark.parametrize(("threads", "name"), [(1, "cpu (1 thread)"), (2, "cpu (2 threads)")])
def test_a_run_names_its_device(set_threads, threads, name):
    set_threads(threads)
    assert device_label(torch.device("cpu")) == name
    assert device_label(torch.device("mps")) == "mps"


@pytest.mark.trust
def test_another_config_in_the_directory_is_refused_by_its_difference(train):
    first = train("output_dir=a")
    times = {file: file.stat().st_mtime_ns for file in first.path.rglob("*")}
    with pytest.raises(ConfigError) as caught:
        train("output_dir=a", "optim.lr=0.5", "model.activation=tanh")
    assert "optim.lr is 0.002 there and 0.5 here" in str(caught.value)
    assert "model.activation is relu there and tanh here" in str(caught.value)
    assert {file: file.stat().st_mtime_ns for file in first.path.rglob("*")} == times


@pytest.mark.trust
def test_a_directory_of_something_else_is_refused(train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("!")
    with pytest.raises(ConfigError, match="is there already and is not a run"):
        train("output_dir=mine")


def test_resume_takes_the_runs_own_config(train, cut_off):
    whole = train("output_dir=whole", "model.hidden=[20]", "trainer.max_epochs=3")
    cut_off("output_dir=cut", "model.hidden=[20]", "trainer.max_epochs=3", epoch=2)
    resumed = train("resume=cut", small=False)
    assert metrics(resumed.path) == metrics(whole.path)


@pytest.mark.parametrize("threads", [1, 2])
def test_resuming_with_another_number_of_threads_is_a_warning(train, cut_off, caplog, set_threads, threads):
    set_threads(2)
    cut_off("output_dir=cut", "model=cnn", "trainer.max_epochs=2", epoch=2)
    set_threads(threads)
    caplog.set_level("INFO", logger="litmus")
    train("resume=cut", small=False)
    warnings = [message for message in caplog.messages if "started with 2 CPU threads" in message]
    assert len(warnings) == (threads != 2)


@pytest.mark.trust
def test_a_run_of_another_version_is_loaded_but_not_resumed(train, cut_off):
    cut_off("output_dir=cut", epoch=2)
    files = [Path("cut/.hydra/config.yaml"), Path("cut/run.json")]
    text = files[0].read_text().replace("litmus.callbacks.GeneralizationGap", "litmus.callbacks.GeneralisationGap")
    files[0].write_text(text)
    facts = json.loads(files[1].read_text())
    files[1].write_text(json.dumps(facts | {"config_hash": config_hash(experiment(OmegaConf.create(text)))}))
    before = snapshot(Path("cut"))
    with pytest.raises(ConfigError, match=r"another version .*litmus.callbacks.GeneralisationGap.* start a new run"):
        train("resume=cut", small=False)
    assert snapshot(Path("cut")) == before
    assert litmus.load("cut", "last").class_names[0] == "class 0"


def test_a_resumed_run_may_train_longer(train):
    whole = train("output_dir=whole", "scheduler=exponential", "trainer.max_epochs=4")
    train("output_dir=short", "scheduler=exponential", "trainer.max_epochs=2")
    longer = train("resume=short", "trainer.max_epochs=4", small=False)
    assert metrics(longer.path) == metrics(whole.path)
    assert_same(weights(longer.path), weights(whole.path))
    assert longer.result["epochs"] == 4


@pytest.mark.trust
@pytest.mark.parametrize("scheduler", ["cosine", "onecycle"])
def test_resume_can_not_stretch_a_schedule_laid_out_over_all_steps(train, scheduler):
    train("output_dir=a", f"scheduler={scheduler}")
    with pytest.raises(ConfigError, match="has a schedule over 2 epochs, so it cannot be resumed"):
        train("resume=a", "trainer.max_epochs=4", small=False)
    assert json.loads(Path("a/result.json").read_text())["epochs"] == 2


@pytest.mark.trust
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["resume=nowhere"], "resume=nowhere is not a run directory"),
        (["resume=a", "optim.lr=0.1"], "leave out optim.lr=0.1"),
        (["resume=a", "~callbacks.grad_norm"], "leave out ~callbacks.grad_norm"),
        (["resume=a", "~trainer.max_epochs"], "leave out ~trainer.max_epochs"),
        (["resume=a", "+optim.eps=1"], r"leave out \+optim.eps=1"),
        (["resume=a", "trainer.max_epochs=1"], "has trained 2 epochs already.* set trainer.max_epochs above 2"),
        (["resume=a", "callbacks.early_stopping.patience=3"], "can only be raised"),
    ],
)
def test_resume_refuses_what_it_can_not_do(train, overrides, sentence):
    train("output_dir=a", "scheduler=constant")
    before = snapshot(Path("a"))
    with pytest.raises(ConfigError, match=sentence):
        train(*overrides, small=False)
    assert snapshot(Path("a")) == before


STOPS_EARLY = (*SMALL, "optim=sgd", "optim.lr=0", "scheduler=constant", "trainer.max_epochs=10", "logger=none")


def test_resume_needs_no_file_of_starting_weights(train, cut_off):
    shutil.copytree(train("trainer.max_epochs=1").path, "earlier")
    options = ("model.init_from=earlier", "trainer.max_epochs=3")
    whole = train(*options, "output_dir=whole")
    cut_off(*options, "output_dir=cut", epoch=2)
    shutil.rmtree("earlier")
    resumed = train("resume=cut", small=False)
    assert metrics(resumed.path) == metrics(whole.path)
    assert "init_from: earlier" in (resumed.path / ".hydra" / "config.yaml").read_text()


def test_resume_says_that_no_epoch_was_completed(train, cut_off, caplog):
    cut_off("output_dir=cut", epoch=1)
    caplog.set_level("INFO", logger="litmus")
    train("resume=cut", small=False)
    assert "cut has no completed epoch, so training starts from the first epoch" in caplog.messages


def test_resume_after_early_stopping_asks_for_more_patience(train):
    run = train(*STOPS_EARLY, "callbacks.early_stopping.patience=2", "output_dir=a")
    before = snapshot(run.path)
    with pytest.raises(ConfigError, match="larger callbacks.early_stopping.patience"):
        train("resume=a", "trainer.max_epochs=20", small=False)
    assert snapshot(run.path) == before

    longer = train("resume=a", "callbacks.early_stopping.patience=4", small=False)
    whole = train(*STOPS_EARLY, "callbacks.early_stopping.patience=4", "output_dir=whole")
    assert (longer.result["epochs"], longer.result["stop_reason"]) == (5, whole.result["stop_reason"])
    assert metrics(longer.path) == metrics(whole.path)

    shutil.copytree(run.path, "b")
    deleted = train("resume=b", "~callbacks.early_stopping", small=False)
    endless = train("resume=a", "callbacks.early_stopping=null", small=False)
    assert {**deleted.result, "seconds": 0} == {**endless.result, "seconds": 0}
    assert (endless.result["epochs"], endless.result["stop_reason"]) == (10, "trainer.max_epochs=10 reached")


def test_resume_after_max_steps_is_refused(train):
    run = train("trainer.max_steps=3", "scheduler=constant", "output_dir=a")
    before = snapshot(run.path)
    with pytest.raises(ConfigError, match=r"larger trainer\.max_steps"):
        train("resume=a", "trainer.max_epochs=20", small=False)
    assert snapshot(run.path) == before


def test_a_run_killed_after_early_stopping_trains_no_further_epoch(train):
    run = train(*STOPS_EARLY, "callbacks.early_stopping.patience=2", "output_dir=a")
    (run.path / "result.json").unlink()
    resumed = train("resume=a", small=False)
    assert {**resumed.result, "seconds": 0} == {**run.result, "seconds": 0}


@pytest.mark.trust
def test_a_moved_run_goes_on_and_keeps_its_best(train, cut_off):
    overrides = ("trainer.max_epochs=4", "optim.lr=0.05", "model.dropout=0.3", "scheduler=constant")
    whole = train(*overrides, "output_dir=whole")
    cut_off(*overrides, "output_dir=first", epoch=3)
    shutil.move("first", "elsewhere")
    moved = train("resume=elsewhere", small=False)
    assert moved.result["best_epoch"] == whole.result["best_epoch"]
    assert_same(weights(moved.path, "best"), weights(whole.path, "best"))


def test_a_checkpoint_alone_rebuilds_the_model_with_its_preprocessing(train, tmp_path):
    run = train("model=cnn", "model.channels=[4,4]", "data.scaling=standardize")
    data = build(composed(*SMALL).data)
    data.setup()
    images, labels = data.parts["test"]
    shutil.copy(run.path / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    shutil.rmtree(run.path)
    model = litmus.load(tmp_path / "alone.ckpt")
    assert not model.training
    assert model.class_names == data.class_names
    accuracy = (model(images).argmax(dim=1) == labels).float().mean().item()
    assert accuracy == pytest.approx(run.result["metrics"]["test/acc"], abs=1e-6)
    assert torch.equal(model(images[:9].double()), model(images[:9]))
    for wrong, sentence in (
        (images[0], r"give \(N, 1, H, W\)"),
        (images / 255, "run from 0 to 0.99.*; give pixels from 0 to 255, as uint8"),
        ((images - 128.0) / 64, "run from -2 to .*; give pixels from 0 to 255, as uint8"),
        (images.int() * 256, "give pixels from 0 to 255, as uint8"),
        (images[:2, :, :20], r"images of shape \(2, 1, 20, 28\) do not fit: give \(N, 1, 28, 28\)"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            model(wrong)


def test_loading_does_not_need_the_run_that_it_started_from(train):
    earlier = train("output_dir=earlier")
    run = train("output_dir=later", f"model.init_from={earlier.path}")
    shutil.rmtree("earlier")
    assert litmus.load(run.path).class_names[0] == "class 0"


@pytest.mark.trust
def test_a_checkpoint_holds_tensors_and_plain_containers_alone(train):
    run = train("scheduler=onecycle")
    for name in ("best", "last"):
        contents = torch.load(run.path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert contents["litmus"]["config"]["optim"]["lr"] == 0.002


@pytest.mark.trust
@pytest.mark.parametrize(
    ("contents", "sentence"),
    [({"a": 1}, "is not a Litmus checkpoint"), ({"litmus": {"format": 99}}, "was written by a later Litmus")],
)
def test_a_file_that_is_no_checkpoint_of_ours_is_refused(tmp_path, contents, sentence):
    torch.save(contents, tmp_path / "x.ckpt")
    with pytest.raises(ConfigError, match=sentence):
        litmus.load(tmp_path / "x.ckpt")


@pytest.mark.trust
def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(ConfigError, match="is damaged"):
        litmus.load(tmp_path / "trap.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_best_is_chosen_by_the_objective(train):
    run = train("objective=val/loss", "optim.lr=0.05", "scheduler=constant", "trainer.max_epochs=4")
    with (run.path / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
    assert run.objective == min(losses)
    assert run.result["best_epoch"] == 1 + losses.index(min(losses))


def test_an_unknown_objective_is_refused(train):
    with pytest.raises(ConfigError, match="did you mean val/acc"):
        train("objective=val/ac")


NO_VALIDATION = ("data.val_size=0", "callbacks.early_stopping=null", "scheduler=constant")


def test_without_validation_the_last_epoch_is_the_best(train):
    run = train(*NO_VALIDATION)
    assert_same(weights(run.path, "best"), weights(run.path, "last"))
    assert run.result["objective_name"] == "train/loss"
    assert run.result["best_epoch"] == 2
    assert "val/acc" not in run.result["metrics"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["callbacks.early_stopping.patience=3"], "for early stopping to monitor; set callbacks.early_stopping=null"),
        (["callbacks.early_stopping=null", "scheduler=plateau"], "for scheduler=plateau to monitor"),
        (["callbacks.early_stopping=null", "objective=val/acc"], "the last epoch is kept; leave objective=val/acc out"),
    ],
)
def test_without_validation_nothing_can_watch_it(train, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train("data.val_size=0", *overrides)


def test_early_stopping_counts_epochs_and_says_why(train):
    run = train("optim=sgd", "optim.lr=0", "callbacks.early_stopping.patience=2", "trainer.max_epochs=10")
    assert run.result["epochs"] == 3
    assert run.result["stop_reason"] == "early stopping: val/loss did not improve for 2 epochs"


def test_a_single_run_tests_and_can_be_told_not_to(train):
    assert "test/acc" in train().result["metrics"]
    assert "test/acc" not in train("test=false").result["metrics"]


def test_a_job_of_a_sweep_tests_only_when_told(tmp_path):
    for test, name in (("null", "quiet"), ("true", "loud")):
        subprocess.run(
            [sys.executable, str(ROOT / "train.py"), "-m", *SMALL, "seed=0,1", f"test={test}", f"sweep_name={name}"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        results = [json.loads(p.read_text()) for p in (tmp_path / "outputs/sweeps" / name).glob("*/result.json")]
        assert len(results) == 2
        assert all(("test/acc" in result["metrics"]) == (test == "true") for result in results)


def test_the_record_says_what_a_result_depends_on(train):
    run = train()
    record = json.loads((run.path / "run.json").read_text())
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    assert record["threads"] == torch.get_num_threads()
    assert record["choices"]["model"] == "mlp"
    assert "data=synthetic" in record["overrides"]
    assert len(record["git_commit"] or "x" * 40) >= 40


def test_a_job_is_named_by_what_it_is(train):
    first = train("model.hidden=[20]").path.name
    assert first.split("-", 3)[3].startswith(
        "accelerator-cpu+data.batch_size-32+data-synthetic+logger-none+model.hidden-20"
    )
    assert len(train("model.hidden=[" + ",".join(["20"] * 30) + "]").path.name.split("-", 3)[3].encode()) <= 100


@pytest.mark.trust
def test_a_run_stopped_by_its_loss_says_so_in_its_log(train, tmp_path):
    with pytest.raises(StoppedRun):
        train("output_dir=a", "optim=sgd", "optim.lr=1e30", "loss=mse", "scheduler=constant")
    assert "stopped by Diverged" in (tmp_path / "a" / "train.log").read_text()


@pytest.mark.trust
def test_a_torn_result_is_named(train):
    run = train("output_dir=a")
    (run.path / "result.json").write_text('{"objective": 0.')
    with pytest.raises(ConfigError, match=r"a/result.json is damaged"):
        train("output_dir=a")


def test_two_runs_of_one_command_have_two_directories(train):
    paths = {train("trainer.max_steps=1").path for _ in range(2)}
    assert len(paths) == 2
