import json
import random
import shutil
from collections import Counter

import pytest
from fake_runs import fake_run

from litmus.report import compare, read_runs, write_report


def statuses(left_out) -> dict[str, str]:
    return {run.path.name: run.status for run in left_out}


def test_what_is_not_finished_is_named_with_its_reason(tmp_path):
    for status in ("finished", "failed", "unfinished", "pruned"):
        fake_run(tmp_path / status, status=status)
    (tmp_path / "notes" / "deeper").mkdir(parents=True)
    runs, left_out = read_runs([tmp_path])
    assert [run.path.name for run in runs] == ["finished"]
    assert {run.path.name: (run.status, run.why) for run in left_out} == {
        "failed": ("failed", "StoppedRun: the loss became nan at step 1 of epoch 2: lower optim.lr"),
        "unfinished": ("unfinished", "it was interrupted, or is still running"),
        "pruned": ("pruned", "after 4 epochs"),
        "notes": ("foreign", "holds no run: there is no run.json in it"),
    }


def test_an_interrupted_run_has_not_failed(tmp_path):
    run = fake_run(tmp_path / "a", status="unfinished")
    (run / "train.log").write_text("2026-01-02 03:04:05 epoch 1\n2026-01-02 03:04:06 stopped by KeyboardInterrupt()\n")
    assert [(run.status, run.why) for run in read_runs([tmp_path])[1]] == [("unfinished", "it was interrupted")]


def test_a_run_that_went_on_after_it_failed_is_cut_off_and_not_failed(tmp_path):
    run = fake_run(tmp_path / "a", status="failed")
    with (run / "train.log").open("a") as log:
        log.write("2026-01-02 04:00:00 going on from checkpoints/last.ckpt\n")
    assert statuses(read_runs([tmp_path])[1]) == {"a": "unfinished"}


def test_a_run_in_two_given_folders_is_read_once(tmp_path):
    fake_run(tmp_path / "sweep" / "a")
    runs, left_out = read_runs([tmp_path, tmp_path / "sweep", tmp_path / "sweep" / "a"])
    assert (len(runs), left_out) == (1, [])


def test_what_litmus_puts_beside_a_sweep_s_jobs_is_none_of_them(tmp_path):
    fake_run(tmp_path / "a")
    fake_run(tmp_path / "retrain" / "seed-0")
    (tmp_path / "report").mkdir()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.json").write_text("{}")
    runs, left_out = read_runs([tmp_path])
    assert ([run.path.name for run in runs], left_out) == (["a"], [])


def test_a_sweep_named_slurm_is_read(tmp_path):
    fake_run(tmp_path / "slurm" / "a")
    assert len(read_runs([tmp_path])[0]) == 1


def test_a_link_that_leads_round_in_a_circle_is_not_followed(tmp_path):
    fake_run(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path, target_is_directory=True)
    assert len(read_runs([tmp_path])[0]) == 1


@pytest.mark.trust
def test_a_result_of_another_config_is_damage(tmp_path):
    run = fake_run(tmp_path / "a")
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"config_hash": "0"}))
    assert statuses(read_runs([tmp_path])[1]) == {"a": "damaged"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "null", '"0.9"', "true"])
def test_an_objective_that_is_no_finite_number_is_damage(tmp_path, number):
    run = fake_run(tmp_path / "a")
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"objective": "here"}).replace('"here"', number))
    assert statuses(read_runs([tmp_path])[1]) == {"a": "damaged"}


def test_damaged_curves_do_not_lose_the_run(tmp_path):
    run = fake_run(tmp_path / "a")
    (run / "metrics.csv").write_bytes(b"epoch,val/acc\n1,oops\n\xff")
    (found,) = read_runs([tmp_path])[0]
    assert found.curves() == []
    assert found.metrics["val/acc"] == pytest.approx(0.9)


FILES = ("run.json", "result.json", "metrics.csv", ".hydra/config.yaml")
KINDS = ("finished", "failed", "unfinished", "pruned", "foreign", "file", "damaged")


def mixture(folder, seeded: random.Random, template) -> Counter:
    """A folder of all kinds of things, some of them deeper; gives how many there are of each."""
    made: Counter = Counter()
    for number in range(seeded.randint(1, 12)):
        kind = seeded.choice(KINDS)
        made[kind] += 1
        path = folder.joinpath(*["deeper"] * seeded.randint(0, 2), f"{kind}-{number}")
        if kind == "foreign":
            (path / "x").mkdir(parents=True)
            (path / "x" / "result.json").write_text("{}")
        elif kind == "file":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seeded.randbytes(9))
        else:
            shutil.copytree(template / (kind if kind != "damaged" else "finished"), path)
        if kind == "damaged":
            _damage(path / seeded.choice(FILES), seeded)
    return made


def _damage(file, seeded: random.Random) -> None:
    text = file.read_bytes()
    at = seeded.randrange(len(text))
    how = seeded.choice(["cut", "noise", "folder", "gone", "other"])
    if how == "cut":
        file.write_bytes(text[:at])
    elif how == "noise":
        file.write_bytes(text[:at] + seeded.randbytes(5) + text[at + 5 :])
    elif how == "other":
        file.write_text(seeded.choice(["[]", "3", "null", "{}", '{"config_hash": {}, "metrics": []}', "- a\n- b\n"]))
    else:
        file.unlink()
        if how == "folder":
            file.mkdir()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    for status in ("finished", "failed", "unfinished", "pruned"):
        fake_run(folder / status, status=status)
    return folder


@pytest.mark.trust
@pytest.mark.parametrize("number", range(25))
def test_any_mixture_is_read_and_nothing_of_it_is_passed_over(tmp_path, template, number):
    made = mixture(tmp_path / "sweep", random.Random(number), template)
    runs, left_out = read_runs([tmp_path / "sweep"])
    names = Counter(run.path.name.split("-")[0] for run in runs)
    told = Counter(run.path.name.split("-")[0] for run in left_out)
    assert names["finished"] == made["finished"]
    assert set(names) <= {"finished", "damaged"}
    for kind in ("failed", "unfinished", "pruned"):
        assert told[kind] == made[kind]
    if runs:
        # A damaged run.json that is gone makes its directory a foreign one, below a foreign folder perhaps.
        assert told["foreign"] <= made["foreign"]
    compare(runs)


@pytest.mark.trust
@pytest.mark.parametrize("number", [3, 11])
def test_any_mixture_makes_a_report(tmp_path, template, number):
    mixture(tmp_path / "sweep", random.Random(number), template)
    page = write_report([tmp_path / "sweep"]).read_text()
    for run in read_runs([tmp_path / "sweep"])[1]:
        assert str(run.path) in page


def test_jobs_that_left_only_a_log_are_failed(tmp_path):
    logs = {
        "refused": "error: optim.lr is -1\n",
        "crashed": "Traceback (most recent call last):\n  File\nRuntimeError: no memory\n\n",
        "running": "a warning\n",
        "killed": "error: killed by SIGKILL\n",
    }
    (tmp_path / "logs").mkdir()
    for name, text in logs.items():
        (tmp_path / "logs" / f"{name}.log").write_text(text)
    fake_run(tmp_path / "killed", status="unfinished")
    runs, excluded = read_runs([tmp_path])
    assert not runs
    assert {one.path.name: (one.status, one.why) for one in excluded} == {
        "refused": ("failed", "optim.lr is -1"),
        "crashed": ("failed", "RuntimeError: no memory"),
        "killed": ("failed", "killed by SIGKILL"),
    }
    text = (write_report([tmp_path]).parent / "report.md").read_text()
    assert "Nothing has finished (3 failed)" in text
    assert "RuntimeError: no memory" in text


def test_a_run_that_was_pruned_after_one_epoch_says_so(tmp_path):
    _, excluded = read_runs([fake_run(tmp_path / "run", status="pruned", epochs=1)])
    assert [(one.status, one.why) for one in excluded] == [("pruned", "after 1 epoch")]
