import csv
import json
import re
import runpy
import sys

import pytest
from conftest import ROOT
from fake_runs import copies, fake_run, fake_sweep

from litmus.report import write_report
from litmus.report.formatting import format_metric, format_value


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two settings of two seeds, and what else may lie there; with its report."""
    folder = tmp_path_factory.mktemp("sweeps") / "mine"
    fake_sweep(folder, "optim=sgd,adam", "seed=0,1", fixed=("trainer.max_epochs=4",))
    fake_run(folder / "broken", "seed=7", status="failed")
    (folder / "<b>&").mkdir()
    write_report([folder])
    return folder


def rows(folder) -> list[dict[str, str]]:
    with (folder / "report" / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_asks_for_nothing_outside_itself(sweep):
    page = (sweep / "report" / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert re.findall(r"https?://|url\(|@import|<link(?! rel=\"icon\")", page) == []
    assert page.count('src="data:image/png;base64,') == len(list((sweep / "report").glob("*.png"))) > 2


def test_the_page_and_the_markdown_say_the_same(sweep):
    page, text = ((sweep / "report" / name).read_text() for name in ("index.html", "report.md"))
    for told in (page, text.replace("\\", "")):
        assert "4 finished runs of 2 settings; not counted: 1 failed, 1 foreign." in told
        assert "All runs share trainer.max_epochs=4." in told
        assert "StoppedRun: the loss became nan at step 1 of epoch 2: lower optim.lr" in told
        assert "python train.py trainer.max_epochs=4 optim=sgd seed=0" in told
        assert "python train.py -m trainer.max_epochs=4 optim=adam seed=0,1" in told


def test_a_sweep_s_own_command_stands_for_those_of_its_runs(tmp_path):
    fake_run(tmp_path / "a")
    start = {"time": "2026-01-02T03:04:05", "command": "train.py -m 'optim.lr=0.1,0.2'"}
    (tmp_path / "sweep.json").write_text(json.dumps({"starts": [start, start]}))
    page = (write_report([tmp_path]).parent / "report.md").read_text()
    assert "The sweep was started by:\n\n```sh\npython train.py -m 'optim.lr=0.1,0.2'\n```" in page


def test_names_are_escaped(sweep):
    assert "&lt;b&gt;&amp;" in (sweep / "report" / "index.html").read_text()
    assert "<b>" not in (sweep / "report" / "report.md").read_text().replace("\\<b>", "")


def test_every_figure_of_the_markdown_lies_beside_it(sweep):
    files = re.findall(r"!\[.*\]\((.*)\)", (sweep / "report" / "report.md").read_text())
    assert sorted(files) == sorted(path.name for path in (sweep / "report").glob("*.png"))


def test_runs_csv_holds_every_run_in_full_precision(sweep):
    found = {row["directory"]: row for row in rows(sweep)}
    assert len(found) == 6
    for number in range(4):
        row = found[str(sweep / str(number))]
        result = json.loads((sweep / str(number) / "result.json").read_text())
        assert float(row["val/acc"]) == result["objective"]
        assert row["optim"] in row["command"]
    assert found[str(sweep / "broken")]["status"] == "failed"


def test_test_figures_are_shown_only_where_the_runs_have_them(sweep, tmp_path):
    assert "test accuracy" not in (sweep / "report" / "index.html").read_text()
    fake_run(tmp_path / "a", metrics={"test/acc": 0.875, "test/loss": 0.5})
    page = write_report([tmp_path]).read_text()
    assert "test accuracy (%)" in page
    assert ">87.50<" in page


def test_rewriting_a_report_removes_figures_it_no_longer_has(tmp_path):
    fake_sweep(tmp_path / "s", "optim.lr=0.1,0.2", "seed=0")
    write_report([tmp_path / "s"], tmp_path / "out")
    mine = tmp_path / "out" / "mine.png"
    mine.touch()
    assert (tmp_path / "out" / "against-optim.lr.png").exists()
    write_report([tmp_path / "s" / "0"], tmp_path / "out")
    assert not (tmp_path / "out" / "against-optim.lr.png").exists()
    assert mine.exists()


def test_several_folders_make_one_report_in_the_first(tmp_path):
    fake_run(tmp_path / "a" / "1", "optim=sgd")
    fake_run(tmp_path / "b" / "1", "optim=adam")
    page = write_report([tmp_path / "a", tmp_path / "b"])
    assert page == tmp_path / "a" / "report" / "index.html"
    assert "2 finished runs of 2 settings" in page.read_text()


def test_where_nothing_has_finished_the_page_says_so_and_why(tmp_path):
    fake_run(tmp_path / "a", status="failed")
    page = write_report([tmp_path]).read_text()
    assert "Nothing has finished (1 failed)" in page
    assert "the loss became nan" in page


def test_unlike_losses_and_circumstances_are_named(tmp_path):
    fake_run(tmp_path / "a", "loss=mse", threads=1, packages={"torch": "1"})
    fake_run(tmp_path / "b", "loss=cross_entropy", threads=2, packages={"torch": "1"})
    page = write_report([tmp_path]).read_text()
    assert "The settings differ in loss (cross_entropy, mse): their losses have unlike units" in page
    assert "The runs were not made alike: threads was 1 (1 run), 2 (1 run)." in page
    assert "version of torch was" not in page
    assert "Nothing can be judged from fewer than two common seeds" in page


def test_what_retraining_did_is_in_the_report(tmp_path):
    fake_run(tmp_path / "a")
    run = {"seed": 0, "directory": "d", "command": "python train.py", "test/acc": 0.9, "test/loss": 0.25}
    record = {"setting": "optim=adam", "why": "the best", "epochs": "4 epochs", "notes": ["on half"], "runs": [run]}
    (tmp_path / "retrain.json").write_text(json.dumps({"retrained": [record]}))
    assert "optim=adam: the best. 4 epochs. on half." in write_report([tmp_path]).read_text()
    (tmp_path / "retrain.json").write_text('{"retrained": 3}')
    assert "optim=adam: the best" not in write_report([tmp_path]).read_text()


def test_of_many_settings_the_best_are_drawn_and_the_page_says_so(tmp_path):
    copies(fake_run(tmp_path / "template", epochs=30), tmp_path / "s", 200)
    page = write_report([tmp_path / "s"]).read_text()
    assert "200 finished runs of 50 settings" in page
    assert "Of 50 settings the best 24 are drawn." in page


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("val/acc", 0.98765, "98.77"),
        ("val/acc", None, "–"),
        ("gap/acc", -0.01234, "−1.23"),
        ("val/loss", 0.123456, "0.1235"),
        ("val/loss", -0.00001, "0.0000"),
    ],
)
def test_metrics_are_written_in_their_unit(metric, value, text):
    assert format_metric(metric, value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "1e-4"),
        (0.00025, "2.5e-4"),
        (0.001, "0.001"),
        (0.0, "0"),
        (1e6, "1e6"),
        (-1e-5, "-1e-5"),
        (0.123456, "0.1235"),
        (128, "128"),
        (100000000, "100000000"),
        ("l1", "l1"),
        (None, "–"),
    ],
)
def test_config_values_are_written_short(value, text):
    assert format_value(value) == text


def script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "scripts" / "report.py"), run_name="__main__")


def test_the_script_prints_where_the_page_is(sweep, monkeypatch, capsys, tmp_path):
    script(monkeypatch, sweep, "--out", tmp_path / "there", "--pair", "optim=sgd", "optim=adam")
    assert capsys.readouterr().out == f"{tmp_path / 'there' / 'index.html'}\n"
    assert "(optim=sgd) − (optim=adam)" in (tmp_path / "there" / "index.html").read_text()


def test_the_script_takes_the_difference_that_does_not_matter(sweep, monkeypatch, tmp_path):
    script(monkeypatch, sweep, "--out", tmp_path, "--equivalence", "1e3")
    assert ", which is within 1000.00 points." in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "error: nowhere is not a folder: give a sweep's, such as outputs/sweeps/NAME"),
        (["."], "error: . holds no run: give the folder of a sweep"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(monkeypatch, capsys, tmp_path, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        script(monkeypatch, *arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"{sentence}\n"
