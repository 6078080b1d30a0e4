"""Reported figures beside those of runs that are made on the spot."""

import shutil
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import yaml
from conftest import CONF
from fake_runs import fake_run

import comparisons
from figures import draw_figures
from litmus import compose
from litmus.report.comparison_plan import write_plan
from litmus.sweeps.comparison_request import Request, make_plan
from page import page, table_of, verdicts_of
from protocol import load, measured, value_in
from results import read_results, write_results

SPEC = {
    "title": "X. A trial",
    "config": "x",
    "sweeps": ["optim=sgd", "optim=adam model.init_from={FIRST}"],
    "needs": {"FIRST": ["x", "optim=sgd"]},
    "tables": [
        {
            "text": "Accuracy.",
            "measures": [{"metric": "val/acc", "at": "last", "title": "validation"}],
            "rows": [["plain", "optim=sgd optim.lr=1e-1", 91.5], ["other", "optim=adam", None]],
        }
    ],
    "figures": [
        {"kind": "curves", "file": "x-curves", "metrics": ["train/loss", "val/acc"], "caption": "X: curves."},
    ],
}


@pytest.fixture
def experiment(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(SPEC))
    return load(file, tmp_path / "out")


def finished(experiment, *overrides, **options):
    directory = experiment.folder / "+".join(overrides)
    return fake_run(directory, *overrides, **options)


def results_of(experiment, folder=None):
    return read_results(experiment, (folder or experiment.out) / f"{experiment.name}.csv")


def page_of(experiments, texts, pictures, before=""):
    return page(experiments, {one.name: results_of(one, texts) for one in experiments}, texts, pictures, before)


def test_ours_is_the_mean_and_deviation_over_the_seeds_in_percent(experiment):
    accuracies = [0.90, 0.92, 0.97]
    for seed, accuracy in enumerate(accuracies):
        finished(experiment, "optim=sgd", "optim.lr=0.1", f"seed={seed}", accuracy=accuracy)
    experiment.read()
    line = table_of(results_of(experiment), SPEC["tables"][0]).splitlines()[2]
    expected = f"| plain | 91.50 | {100 * fmean(accuracies):.2f} ± {100 * stdev(accuracies):.2f} | 3 | 2 |"
    assert line == expected


def test_a_column_of_targets_is_named_so(experiment):
    experiment.read()
    table = experiment.tables[0] | {"theirs": "aim"}
    assert table_of(results_of(experiment), table).startswith("| setting | validation, aim | validation, ours |")


def test_what_has_not_run_is_said_so(experiment):
    experiment.read()
    assert table_of(results_of(experiment), SPEC["tables"][0]).splitlines()[3] == "| other | – | not run yet | – | – |"


def test_a_measure_reads_a_middle_the_last_or_the_best_epoch(experiment):
    finished(experiment, "optim=adam", epochs=4)
    experiment.read()
    (run,) = experiment.runs_of("other")
    rows = run.curves()
    assert measured(run, {"metric": "val/acc", "at": 2}) == rows[1]["val/acc"]
    assert measured(run, {"metric": "val/acc", "at": "last"}) == rows[3]["val/acc"]
    assert measured(run, {"metric": "val/acc", "at": "best"}) == run.metrics["val/acc"]
    assert measured(run, {"metric": "val/acc", "at": 9}) is None


def test_cost_is_loss_plus_penalty_of_the_weights_at_epoch_end(experiment):
    finished(experiment, "optim=adam")
    experiment.read()
    (run,) = experiment.runs_of("other")
    run.config["penalty.weight"] = 0.5
    row = {"val/loss": 2.0, "weight_norm/hidden1": 3.0, "weight_norm/output": 4.0}
    assert value_in(row, "val/cost", run) == 2.0 + 0.5 * 0.5 * (9 + 16)
    assert value_in({"train_eval/acc": 0.9, "test/acc": 0.7}, "gap/test", run) == pytest.approx(0.2)


def test_a_row_knows_its_runs_however_their_values_are_written(experiment):
    experiment.tables[0]["rows"].append(["normalized", "model.batch_norm=true optim.lr=1e-4", None])
    finished(experiment, "optim.lr=0.0001", "model.batch_norm=True", "seed=0")
    finished(experiment, "optim.lr=0.0001", "model.batch_norm=False", "seed=1")
    experiment.read()
    assert [run.seed for run in experiment.runs_of("normalized")] == [0]


def test_warm_starts_use_the_finished_run_with_the_lowest_seed(experiment, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LookupError, match="has not finished"):
        experiment.filled_in(SPEC["sweeps"][1])
    finished(experiment, "optim=sgd", "seed=1")
    run = finished(experiment, "optim=sgd", "seed=0")
    assert experiment.filled_in(SPEC["sweeps"][1]) == f"optim=adam model.init_from={run.relative_to(tmp_path)}"
    shutil.rmtree(run)
    assert "seed=1" in experiment.filled_in(SPEC["sweeps"][1])


def test_the_page_holds_the_tables_the_figures_and_the_prose(experiment, tmp_path):
    for seed in (0, 1):
        finished(experiment, "optim=sgd", "optim.lr=0.1", f"seed={seed}")
    experiment.read()
    (image,) = draw_figures(experiment, tmp_path / "pictures")
    assert (tmp_path / "pictures" / image.file).stat().st_size > 10_000
    (tmp_path / "introduction.md").write_text("# All\n")
    (tmp_path / "X.md").write_text("It holds.\n")
    text = page_of([experiment], tmp_path, {"x": [("pictures/x-curves.png", image.caption)]})
    for part in ("# All", "## X. A trial", "| plain | 91.50 |", "![X](pictures/x-curves.png)", "It holds."):
        assert part in text


def test_the_page_keeps_experiments_whose_runs_are_elsewhere(experiment, tmp_path):
    (tmp_path / "introduction.md").write_text("# All\n")
    other = replace(experiment, name="y", title="Y. Another")
    finished(experiment, "optim=sgd", "optim.lr=0.1", "seed=0", accuracy=0.9)
    experiment.read()
    pictures = {"x": [("x.png", "X: curves.")], "y": []}
    full = page_of([experiment, other], tmp_path, pictures)
    shutil.rmtree(experiment.folder)
    experiment.read()
    assert page_of([experiment, other], tmp_path, {"x": [], "y": []}, full) == full
    (tmp_path / "Y.md").write_text("Not yet.\n")  # of what never ran, the page is made again
    assert page_of([experiment, other], tmp_path, {"x": [], "y": []}, full) == f"{full.rstrip()}\n\nNot yet.\n"
    finished(experiment, "optim=sgd", "optim.lr=0.1", "seed=0", accuracy=0.8)
    experiment.read()
    assert "| plain | 91.50 | 80.00 |" in page_of([experiment, other], tmp_path, {"x": [], "y": []}, full)


def test_stored_results_give_the_same_page_without_runs(experiment, tmp_path):
    for seed, accuracy in enumerate((0.9, 0.92, 0.97)):
        finished(experiment, "optim=sgd", "optim.lr=0.1", f"seed={seed}", accuracy=accuracy, git_commit="abc")
        finished(experiment, "optim=adam", f"seed={seed}", accuracy=accuracy + 0.01 + 0.001 * seed)
    experiment.read()
    (tmp_path / "introduction.md").write_text("# All\n")
    experiment.verdicts.append(VERDICT)
    full = page_of([experiment], tmp_path, {"x": []})
    write_results(tmp_path / "x.csv", results_of(experiment), experiment.measures)
    stored = (tmp_path / "x.csv").read_bytes()
    shutil.rmtree(experiment.folder)
    experiment.read()
    assert page_of([experiment], tmp_path, {"x": []}) == full
    assert b"plain,0,1.5,abc," in stored
    write_results(tmp_path / "x.csv", results_of(experiment, tmp_path), experiment.measures)
    assert (tmp_path / "x.csv").read_bytes() == stored


VERDICT = {"text": "Paired.", "measure": {"metric": "val/acc", "at": "last"}, "against": "plain"}


def test_a_verdict_is_on_the_paired_differences(experiment):
    for seed, accuracy in enumerate((0.9, 0.92, 0.97)):
        finished(experiment, "optim=sgd", "optim.lr=0.1", f"seed={seed}", accuracy=accuracy)
        finished(experiment, "optim=adam", f"seed={seed}", accuracy=accuracy + 0.01 + 0.001 * seed)
    experiment.read()
    line = verdicts_of(experiment, results_of(experiment), VERDICT).splitlines()[2]
    # The differences 1, 1.1 and 1.2 have the deviation 0.1, and t(0.975, 2) is 4.3027.
    assert line == "| other − plain | +1.10 | +0.85 to +1.35 | 0.003 | 3 | better by 1.10 points |"


def test_without_results_there_is_no_verdict(experiment):
    experiment.read()
    assert verdicts_of(experiment, results_of(experiment), VERDICT) == ""


def test_a_stored_comparison_gives_its_section_without_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(comparisons, "ROOT", tmp_path)
    spec = {"name": "c", "text": "Tuned.", "arguments": "optim=sgd,adam --seeds 3"}
    assert comparisons.section(spec, tmp_path) == []
    plan, _ = make_plan(Request(["optim=sgd,adam"], seeds=3), compose, CONF)
    folder = tmp_path / "outputs" / "sweeps" / "c"
    write_plan(folder, plan, [], "")
    for arm, best in (("1-optim-sgd", 0.9), ("2-optim-adam", 0.95)):
        for seed in range(3):
            option = "optim=" + arm.rpartition("-")[2]
            tested = {"test/acc": best + 0.001 * seed * (best > 0.9)}
            fake_run(folder / "evaluate" / arm / str(seed), option, f"seed={seed}", metrics=tested)
    comparisons.store(spec, tmp_path)
    shutil.rmtree(folder)
    text = "\n".join(comparisons.section(spec, tmp_path))
    # The differences 5, 5.1 and 5.2 have the deviation 0.1, and t(0.975, 2) is 4.3027.
    assert "optim=adam is better than optim=sgd by 5.10 points (95 % interval 4.85 to 5.35, 3 seeds)." in text
    assert "| optim=adam | – | 95.10 ± 0.10 | 3 | 2 |" in text
    assert "As planned." in text
    assert "python scripts/compare.py optim=sgd,adam --seeds 3 --name c" in text
