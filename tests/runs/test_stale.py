"""Changed code or data under a complete or interrupted run is refused, kept or run again, as `stale` says."""

import importlib
import json
import sys
from collections import Counter

import numpy as np
import pytest
from conftest import assert_same, cut_off, option, snapshot, weights
from picture_files import TINY, folder, picture

from litmus.core.metrics_file import read_metrics
from litmus.core.modules import find_source
from litmus.errors import ConfigError, StoppedRun
from litmus.report import compare, read_runs
from litmus.runs.code_version import changed_files, current_digests, digests
from litmus.runs.identity import former_hash
from litmus.runs.observers import only_observes

MODEL = '''
from torch import nn


class Mine(nn.Sequential):
    """A network."""

    def __init__(self, num_classes, image_shape):
        super().__init__(nn.Flatten(), nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes))
'''
QUICK = ("data.num_images=64", "trainer.max_epochs=1", "logger=none", "callbacks=none", "output_dir=run")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes the module of a model, and a file that no run imports; gives the function that writes it again."""
    source = tmp_path / "project"
    source.mkdir()
    monkeypatch.syspath_prepend(source)
    (source / "notes.py").write_text("x = 1\n")

    def write(width: int = 4, comment: str = "") -> tuple[str, ...]:
        (source / "my_model.py").write_text(MODEL.replace("WIDTH", str(width)) + comment)
        monkeypatch.delitem(sys.modules, "my_model", raising=False)
        return option(tmp_path, "model", "_target_: my_model.Mine\n")

    write.folder = source
    return write


def launches(path):
    return len(json.loads((path / "run.json").read_text())["starts"])


def test_a_comment_or_a_file_that_is_not_imported_changes_nothing(train, mine):
    run = train(*mine(), *QUICK)
    record = json.loads((run.path / "run.json").read_text())
    assert str(mine.folder / "my_model.py") in record["code"]
    assert "train.py" in record["code"]
    assert "src/litmus/models/classifier.py" in record["code"]
    assert not any(name.startswith(("src/litmus/report", "src/litmus/sweeps")) for name in record["code"])
    (mine.folder / "notes.py").write_text("x = 2\n")
    assert train(*mine(comment="\n\n# A remark.\n"), *QUICK).result == run.result
    assert launches(run.path) == 1


def test_changed_code_is_refused_and_leaves_the_run_alone(train, mine):
    run = train(*mine(), *QUICK)
    before = snapshot(run.path)
    with pytest.raises(ConfigError, match=r"other code \(.*my_model\.py\); set stale=keep .*stale=rerun"):
        train(*mine(width=5), *QUICK)
    assert snapshot(run.path) == before


def test_stale_keep_takes_the_old_result(train, mine, caplog):
    run = train(*mine(), *QUICK)
    before = snapshot(run.path)
    assert train(*mine(width=5), *QUICK, "stale=keep").result == run.result
    assert snapshot(run.path) == before
    assert "made with other code" in caplog.text


def test_stale_rerun_keeps_the_old_run_under_another_name(train, mine, tmp_path):
    old = train(*mine(), *QUICK)
    new = train(*mine(width=5), *QUICK, "stale=rerun")
    assert new.result["metrics"] != old.result["metrics"]
    (renamed,) = tmp_path.glob("run.stale-*")
    assert json.loads((renamed / "result.json").read_text()) == old.result
    runs, excluded = read_runs([tmp_path])
    assert [run.path for run in runs] == [tmp_path / "run"]
    assert (renamed, "replaced") in [(one.path, one.status) for one in excluded]
    assert train(*mine(width=5), *QUICK).result == new.result


@pytest.mark.parametrize("answer", ["stale=keep", "stale=rerun"])
def test_an_interrupted_run_of_other_code_does_not_resume_silently(train, mine, monkeypatch, answer):
    options = (*mine(), *QUICK, "trainer.max_epochs=3", "data.batch_size=16")
    cut_off(train, monkeypatch, 1, *options)
    mine(width=4, comment="\nscale = 2\n")
    with pytest.raises(ConfigError, match="other code"):
        train(*options)
    with pytest.raises(ConfigError, match="start a new run"):
        train("resume=run", "stale=rerun", "trust=[my_model]", small=False)
    run = train(*options, answer)
    assert run.result["epochs"] == 3
    assert launches(run.path) == (2 if answer == "stale=keep" else 1)
    (read,), _ = read_runs([run.path])
    assert read.is_mixed == (answer == "stale=keep")


def arrays(path, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    parts = {"train": 40, "test": 10}
    x = {f"x_{part}": random.integers(0, 256, (n, 8, 8), np.uint8) for part, n in parts.items()}
    np.savez(path, **x, **{f"y_{part}": np.arange(n) % 2 for part, n in parts.items()})


@pytest.mark.parametrize("change", ["arrays", "pictures"])
def test_changed_data_is_refused_kept_or_run_again(train, tmp_path, change):
    if change == "arrays":
        arrays(tmp_path / "mine.npz")
        options = ("data=arrays", f"data.path={tmp_path}/mine.npz", *QUICK[1:])
    else:
        folder(tmp_path / "pets", cat=12, dog=12)
        options = (*TINY, f"data.root={tmp_path}/pets", f"data.data_dir={tmp_path}/downloads", *QUICK[1:])
    run = train(*options, "accelerator=cpu", small=False)
    assert train(*options, "accelerator=cpu", small=False).result == run.result
    arrays(tmp_path / "mine.npz", seed=1) if change == "arrays" else picture(tmp_path / "pets" / "cat" / "new.png", 30)
    with pytest.raises(ConfigError, match="other data; set stale=keep"):
        train(*options, "accelerator=cpu", small=False)
    assert train(*options, "accelerator=cpu", "stale=keep", small=False).result == run.result
    assert train(*options, "accelerator=cpu", "stale=rerun", small=False).result != run.result
    assert len(list(tmp_path.glob("run.stale-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["grid", "search"])
def test_a_sweep_on_changed_data_is_refused_kept_or_run_again(starter, tmp_path, how):
    arrays(tmp_path / "mine.npz")
    quick = ("trainer.max_epochs=1", "logger=none", "accelerator=cpu", "accelerator.threads=1", "sweep_name=s")
    space = ("optim=sgd,adam",) if how == "grid" else ("optim.lr=1e-3,1e-2", "sampler=random", "n_trials=2")
    command = ("-m", "data=arrays", f"data.path={tmp_path}/mine.npz", *quick, *space)

    def start(*options):
        done = starter.start(*command, *options, cwd=tmp_path)
        return done.wait(), done.text

    def complete():
        return {path.parent.name for path in tmp_path.glob("outputs/sweeps/s/*/result.json")}

    assert start()[0] == 0
    before = complete()
    assert start()[0] == 0
    arrays(tmp_path / "mine.npz", seed=1)
    status, text = start()
    assert status == 2
    assert "other data" in text
    assert "stale=keep" in text
    status, text = start("stale=keep", *(["seed=0,1"] if how == "grid" else []))
    assert status == 0
    assert "stale=keep" in text
    if how == "grid":  # old and new results are not averaged
        board = (tmp_path / "outputs/sweeps/s/leaderboard.csv").read_text().splitlines()
        assert board[0].split(",")[:2] == ["optim", "data_fingerprint"]
        assert sorted(Counter(line.split(",")[1] for line in board[1:]).values()) == [2, 2]
        assert {line.split(",")[-1] for line in board[1:]} == {"1"}
    assert before <= complete()
    before = complete()
    status, text = start("stale=rerun")
    if how == "search":
        assert status == 2
        assert "choose another sweep_name" in text
        return
    assert status == 0
    assert len(complete()) == len(before) + 2  # seed=1 was made with these data
    assert start()[0] == 0


def test_the_same_data_has_the_same_fingerprint_for_every_seed_and_split(train):
    def fingerprint(*options):
        run = train(*QUICK[:-1], *options)
        return json.loads((run.path / "run.json").read_text())["data_fingerprint"]

    first = fingerprint("output_dir=a")
    assert fingerprint("output_dir=b", "seed=1", "data.val_size=0.2", "data.batch_size=16") == first
    assert fingerprint("output_dir=c", "data.train_size=50") != first


def test_runs_of_different_code_are_two_settings_of_a_report(train, mine, tmp_path):
    train(*mine(), *QUICK[:-1], "output_dir=runs/a", "seed=0")
    train(*mine(), *QUICK[:-1], "output_dir=runs/b", "seed=1")
    train(*mine(comment="\nscale = 2\n"), *QUICK[:-1], "output_dir=runs/c", "seed=2")
    comparison, left_out = compare(read_runs([tmp_path / "runs"])[0])
    assert sorted(len(setting.runs) for setting in comparison.settings) == [1, 2]
    assert comparison.keys == ["code"]
    assert not left_out


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ('"""A module."""\n\n\ndef f( x ):  # add one\n    """Add one."""\n    return (x + 1)\n', True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(y):\n    return y + 1\n", False),
        ("def f(x):\n    return x + 1\n\n\nx = 1\n", False),
        ("def f(x:\n", False),
        (None, False),
    ],
)
def test_code_is_compared_by_its_syntax(tmp_path, source, same):
    file = tmp_path / "f.py"
    file.write_text("def f(x):\n    return x + 1\n")
    recorded = digests([file])
    file.unlink() if source is None else file.write_text(source)
    assert changed_files(recorded, current_digests(recorded), {}) == ([] if same else [str(file)])


WATCHED = (
    "+callbacks.norms._target_=litmus.callbacks.GradNorm",
    "+callbacks.curve._target_=litmus.callbacks.TestCurve",
)


@pytest.mark.parametrize("watching", [("logger=tensorboard",), WATCHED])
def test_what_only_observes_is_not_part_of_a_run(train, watching):
    quick = [option for option in QUICK if option.split("=")[0] != watching[0].split("=")[0]]
    run = train(*quick)
    assert train(*quick, *watching).result == run.result
    assert launches(run.path) == 1


def test_an_interrupted_run_resumes_with_other_observers(train, monkeypatch):
    options = (*QUICK[:-1], "trainer.max_epochs=3", "data.batch_size=16")
    whole = train(*options, "output_dir=whole")
    cut_off(train, monkeypatch, 1, *options, "output_dir=run")
    run = train(*options, *WATCHED, "output_dir=run")
    assert_same(weights(run.path), weights(whole.path))
    rows = read_metrics(run.path / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert "test/acc" in rows[-1]


def test_a_callback_that_takes_part_is_part_of_the_run(train):
    train(*QUICK)
    with pytest.raises(ConfigError, match="holds another run"):
        train(*QUICK, "+callbacks.early_stopping._target_=litmus.callbacks.EarlyStopping")


def test_every_callback_of_litmus_that_declares_it_is_found(tmp_path, monkeypatch):
    from litmus import callbacks

    for name in callbacks.__all__:
        declared = getattr(getattr(callbacks, name), "only_observes", False)
        assert only_observes(f"litmus.callbacks.{name}") is declared
    (tmp_path / "my_callbacks.py").write_text("class Mine:\n    only_observes = True\n\n\nclass Other:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert only_observes("my_callbacks.Mine")
    assert not only_observes("my_callbacks.Other")
    assert not only_observes("absent_module.Mine")
    assert not only_observes("pytorch_lightning.callbacks.EarlyStopping")


def test_a_run_of_an_earlier_version_is_still_complete(train, monkeypatch):
    with monkeypatch.context() as earlier:
        for module in ("runs.run", "runs.identity"):
            earlier.setattr(f"litmus.{module}.config_hash", former_hash)
        run = train(*QUICK)
    record = run.path / "run.json"
    facts = json.loads(record.read_text())
    del facts["code"], facts["data_fingerprint"]
    record.write_text(json.dumps(facts))
    assert train(*QUICK).result == run.result
    assert train("resume=run", small=False).result == run.result


@pytest.fixture
def another(mine, tmp_path, monkeypatch):
    """A second module of the same name; gives a function that has Python import it, as with another PYTHONPATH."""

    def use(width: int, comment: str = "") -> str:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "my_model.py").write_text(MODEL.replace("WIDTH", str(width)) + comment)
        monkeypatch.syspath_prepend(tmp_path / "other")
        monkeypatch.delitem(sys.modules, "my_model")
        return str(tmp_path / "other" / "my_model.py")

    return use


def test_another_module_of_the_same_name_is_other_code(train, mine, another):
    options = (*mine(), *QUICK)
    run = train(*options)
    before = snapshot(run.path)
    file = another(width=5)
    with pytest.raises(ConfigError, match=f"{file} instead of {mine.folder}/my_model.py"):
        train(*options)
    assert snapshot(run.path) == before


def test_another_module_of_the_same_syntax_is_the_same_code(train, mine, another):
    options = (*mine(), *QUICK)
    run = train(*options)
    another(width=4, comment="# a remark\n")
    (mine.folder / "my_model.py").unlink()
    assert train(*options).result == run.result


def test_a_module_behind_another_link_is_other_code(train, mine, tmp_path, monkeypatch):
    options = (*mine(), *QUICK)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my_model.py").write_text(MODEL.replace("WIDTH", "5"))
    link = tmp_path / "link"
    link.symlink_to(mine.folder)
    monkeypatch.syspath_prepend(link)
    train(*options)
    link.unlink()
    link.symlink_to(tmp_path / "other")
    monkeypatch.delitem(sys.modules, "my_model")
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="other/my_model.py instead of .*project/my_model.py"):
        train(*options)


def test_a_module_of_a_package_is_found_without_an_import(tmp_path, monkeypatch):
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py"):
        (tmp_path / "parts" / name).write_text("raise RuntimeError\n")
    (tmp_path / "parts" / "deep" / "net.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_source("parts.deep.net") == tmp_path / "parts" / "deep" / "net.py"
    assert find_source("parts.deep") == tmp_path / "parts" / "deep" / "__init__.py"
    assert find_source("parts.absent.net") is None
    assert find_source("absent.net") is None


def damage(file) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_damaged_data_is_changed_data_and_absent_data_is_not(train, tmp_path):
    arrays(tmp_path / "mine.npz")
    options = ("data=arrays", f"data.path={tmp_path}/mine.npz", *QUICK[1:], "accelerator=cpu")
    run = train(*options, small=False)
    before = snapshot(run.path)
    damage(tmp_path / "mine.npz")
    with pytest.raises(ConfigError, match=r"data that are damaged now \(.*mine\.npz.*; set stale=keep"):
        train(*options, small=False)
    with pytest.raises(ConfigError, match=r"mine\.npz"):
        train(*options, "stale=rerun", small=False)
    assert snapshot(run.path) == before
    (tmp_path / "mine.npz").unlink()
    assert train(*options, small=False).result == run.result


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        *(("run.json", "code", value) for value in (None, 3, ["train.py"], {"train.py": None})),
        *(("run.json", "modules", value) for value in (None, {"my_model": 1})),
        *(("run.json", "data_sources", value) for value in (None, "mine.npz", [1])),
        *(("run.json", "data_fingerprint", value) for value in (3, {})),
        ("run.json", "data_state", 3),
        ("run.json", "config_hash", None),
        ("run.json", "choices", None),
        *(("run.json", "starts", value) for value in (None, {}, [None], [{}])),
        *(("result.json", "metrics", value) for value in (None, [0.5])),
        *(("result.json", key, None) for key in ("objective", "objective_name", "best_epoch", "epochs", "seconds")),
        ("result.json", "objective", "high"),
    ],
)
def test_a_wrong_type_in_a_record_is_refused(train, file, key, value):
    run = train(*QUICK)
    record = run.path / file
    record.write_text(json.dumps(json.loads(record.read_text()) | {key: value}))
    before = snapshot(run.path)
    with pytest.raises(ConfigError, match=rf"{file} is damaged \(its {key} is "):
        train(*QUICK)
    assert snapshot(run.path) == before
    runs, excluded = read_runs([run.path])
    assert (runs, [one.status for one in excluded]) == ([], ["damaged"])


@pytest.mark.parametrize("place", ["litmus.runs.preparation.check_trains", "pytorch_lightning.Trainer.fit"])
def test_a_refused_rerun_leaves_the_old_run_in_its_place(train, mine, tmp_path, monkeypatch, place):
    run = train(*mine(), *QUICK)
    before = snapshot(run.path)

    def refuse(*_, **__):
        raise StoppedRun("refused")

    options = (*mine(width=5), *QUICK, "stale=rerun")
    with monkeypatch.context() as patch:
        patch.setattr(place, refuse)
        with pytest.raises(StoppedRun, match="refused"):
            train(*options)
    assert not list(tmp_path.glob("run.stale-*"))
    after = snapshot(run.path)
    assert {name: content for name, content in after.items() if name != ".lock"} == {
        name: content for name, content in before.items() if name != ".lock"
    }
    train(*options)
    assert len(list(tmp_path.glob("run.stale-*"))) == 1


@pytest.mark.parametrize("where", [".", "..", "sub/.."])
def test_a_run_is_not_renamed_from_within(train, mine, monkeypatch, where):
    options = (*mine(), *QUICK)
    path = train(*options).path.resolve()
    mine(width=5)
    (path / "sub").mkdir()
    before = snapshot(path)
    monkeypatch.chdir(path if where != ".." else path / "sub")
    with pytest.raises(ConfigError, match="start from another folder"):
        train(*options[:-1], f"output_dir={where}", "stale=rerun")
    assert snapshot(path) == before


def test_a_run_with_dots_in_its_path_is_renamed(train, mine, tmp_path):
    options = (*mine(), *QUICK[:-1])
    train(*options, f"output_dir={tmp_path}/runs/a")
    (tmp_path / "runs" / "a" / "sub").mkdir()
    mine(width=5)
    train(*options, f"output_dir={tmp_path}/runs/a/sub/..", "stale=rerun")
    assert {path.name.partition("-")[0] for path in (tmp_path / "runs").iterdir()} == {"a", "a.stale"}
