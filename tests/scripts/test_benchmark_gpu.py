import subprocess
import sys
import time

import pytest
from conftest import ROOT
from torch.utils.tensorboard import SummaryWriter

import gpu_report
from gpu.cases import CASES
from gpu.checks import Check, CheckFailed, Checks, Skipped
from gpu.process import Runner, cell
from gpu.steps import StepBenchmark, figures, litmus_seconds
from litmus.errors import ConfigError, StoppedRun


def command(*arguments, **environment):
    runner = Runner(ROOT, deadline=time.monotonic() + 600)
    program = [sys.executable, str(ROOT / "scripts" / "benchmark"), "gpu", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, env=runner.environment | environment, check=False)


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path, deadline=time.monotonic() + 600)


def test_without_a_gpu_one_sentence_names_the_option():
    ended = command(CUDA_VISIBLE_DEVICES="")
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "--device cpu" in ended.stderr


@pytest.mark.slow
def test_the_whole_command_runs_on_the_cpu(tmp_path):
    out = tmp_path / "page.md"
    chosen = ["--cases", "mlp", "resnet32_bf16", "--contestants", "eager", "cuda_graph", "litmus", "lightning"]
    ended = command(
        "--device",
        "cpu",
        "--images",
        12,
        "--steps",
        1,
        "--rounds",
        1,
        "--minutes",
        30,
        "--out",
        out,
        *chosen,
        OMP_NUM_THREADS="1",
    )
    assert ended.returncode == 0, ended.stderr
    assert out.read_text() == ended.stdout
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line[:1] == "|"]
    outcomes = {row[0]: row[1] for row in rows if row[1] in ("passed", "failed", "skipped")}
    assert list(outcomes.values()) == ["skipped", "passed", "passed", "skipped"]
    for title in ("hand-written eager loop", "Litmus", "plain Lightning"):
        measured = [row for row in rows if row[0] == title]
        assert len(measured) == 2
        assert all(float(row[1].replace(",", "")) > 0 and row[-1] == "1" for row in measured)
    assert [row[1] for row in rows if row[0].endswith("CUDA graph")] == ["needs CUDA"] * 2


def test_a_failed_contestant_leaves_the_others(runner, monkeypatch):
    case = CASES["mlp"].resized(images=24, steps=2)
    benchmark = StepBenchmark({"mlp": case}, ["eager", "lightning"], "cpu", runner)

    def contestant(self, program, case):
        if program == "lightning_loop.py":
            raise StoppedRun("exit status 1: no | memory")
        return {"windows": [0.5, 0.25], "epochs": [1.0], "first_epoch": 3.0}

    monkeypatch.setattr(Runner, "contestant", contestant)
    for name in benchmark.contestants * 2:
        benchmark.measure("mlp", name)
    eager, lightning = benchmark.tables()[0].splitlines()[-2:]
    assert [part.strip() for part in eager.split("|")[2:-1]] == ["6.00", "4.00", "8.00", "1.00", "6.00", "2.0", "2"]
    assert "no \\| memory" in lightning


def test_a_failed_check_ends_with_status_1(monkeypatch, capsys):
    checks = [Check("first", "passed", ""), Check("second", "failed", "why")]
    monkeypatch.setattr(gpu_report, "run_checks", lambda *_: checks)
    monkeypatch.setattr(gpu_report, "mnist", lambda *_: "MNIST")
    with pytest.raises(SystemExit) as ended:
        gpu_report.main(["--device", "cpu", "--minutes", "0", "--cases", "mlp"])
    assert ended.value.code == 1
    assert capsys.readouterr().out.count("no time left (--minutes)") == 5


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(CheckFailed("x"), "failed"), (Skipped("x"), "skipped"), (StoppedRun("x"), "failed"), (KeyError("x"), "failed")],
)
def test_an_error_in_a_check_is_its_outcome(runner, error, outcome):
    def check():
        raise error

    assert Checks("cpu", 0, 64, runner)._outcome("title", check).outcome == outcome


def test_windows_come_from_within_counted_epochs(tmp_path):
    writer = SummaryWriter(tmp_path / "tensorboard")
    for epoch in range(3):  # of 5 steps, logged every 2 and at the last
        for step, seconds in ((2, 2.0), (4, 5.0), (5, 7.0)):
            when = 100.0 * (epoch + 1) + seconds
            writer.add_scalar("train/loss_step", 0.0, 5 * epoch + step, walltime=when)
        writer.add_scalar("train/loss", 0.0, 5 * (epoch + 1), walltime=100.0 * (epoch + 1) + 9)
    writer.close()
    windows, epochs, _ = litmus_seconds(tmp_path, steps=2, epoch_steps=5)
    assert windows == [3.0, 3.0]
    assert epochs == [100.0, 100.0]


@pytest.mark.parametrize(("images", "steps"), [(24, 2), (256, 5), (1, 1), (None, 7)])
def test_a_resized_case_has_three_windows_an_epoch(images, steps):
    for case in CASES.values():
        small = case.resized(images, steps)
        assert small.images % small.batch_size == 0
        assert small.epoch_steps >= 3 * steps


def test_a_process_is_stopped_at_the_deadline(tmp_path):
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    started = time.monotonic()
    with pytest.raises(StoppedRun, match="stopped after"):
        Runner(tmp_path, deadline=started + 1).run(sleeping)
    assert time.monotonic() - started < 30
    with pytest.raises(StoppedRun, match="--minutes"):
        Runner(tmp_path, deadline=started).run(sleeping)


def test_a_failed_process_is_named_by_its_last_line(runner):
    failing = "import sys; print('first\\nerror: last', file=sys.stderr); sys.exit(3)"
    with pytest.raises(StoppedRun, match="exit status 3: last"):
        runner.run([sys.executable, "-c", failing])


def test_a_relative_pythonpath_holds_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", "src")
    runner = Runner(tmp_path, deadline=time.monotonic() + 60)
    found = runner.run([sys.executable, "-c", "import sys; print(sys.path[1])"]).stdout
    assert found.strip() == str(ROOT / "src")


def test_an_out_file_needs_its_folder():
    with pytest.raises(ConfigError, match="--out"):
        gpu_report.parsed(["--out", "/nowhere/page.md"])


def test_cells_and_figures_fit_a_table():
    assert cell("a | b\nc") == "a \\| b c"
    assert [figures(value) for value in (1234.5, 12.34, 0.01234)] == ["1,234", "12.3", "0.0123"]
