import logging

import pytest
from fake_runs import fake_run, fake_sweep

from litmus.report.comparison_plan import FILE
from litmus.sweeps import sweep_page
from litmus.sweeps.sweep_page import SweepPage

REFRESH = '<meta http-equiv="refresh"'


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(sweep_page.time, "monotonic", lambda: now[0])
    return now


def test_the_page_of_a_running_sweep_reloads_until_it_is_complete(tmp_path, clock):
    fake_sweep(tmp_path, "optim=sgd,adam", "seed=0,1")
    page = SweepPage(tmp_path, total=6)
    file = tmp_path / "report" / "index.html"
    clock[0] += sweep_page.SECONDS
    page.update(4)
    text = file.read_text()
    assert REFRESH in text
    assert "4 of 6 jobs have ended" in text
    assert "optim=adam" in text
    page.finish()
    assert REFRESH not in file.read_text()
    assert "have ended" not in file.read_text()


def test_the_page_is_rewritten_at_most_every_ten_seconds(tmp_path, clock):
    fake_sweep(tmp_path, "seed=0,1")
    page = SweepPage(tmp_path, total=9)
    file = tmp_path / "report" / "index.html"
    page.update(1)
    assert not file.exists()
    clock[0] += 10
    page.update(2)
    first = file.read_text()
    clock[0] += 9.9
    page.update(3)
    assert file.read_text() == first
    clock[0] += 0.1
    page.update(4)
    assert "4 of 9 jobs" in file.read_text()


def test_an_interrupted_sweep_has_a_page_that_says_so(tmp_path, clock):
    fake_sweep(tmp_path, "seed=0,1")
    page = SweepPage(tmp_path, total=9)
    page.stop(0)
    assert not (tmp_path / "report").exists()
    clock[0] += 10
    page.update(2)
    page.stop(2)
    text = (tmp_path / "report" / "index.html").read_text()
    assert "Incomplete: 2 of 9 jobs" in text
    assert REFRESH not in text


def test_a_page_that_cannot_be_written_costs_one_warning(tmp_path, clock, caplog):
    fake_sweep(tmp_path, "seed=0,1")
    (tmp_path / "report").write_text("a file")
    page = SweepPage(tmp_path, total=9)
    with caplog.at_level(logging.INFO, "litmus"):
        for done in (1, 2, 3):
            clock[0] += 10
            page.update(done)
        assert len(caplog.records) == 1
        page.finish()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_sweeps_of_a_comparison_have_one_page_together(tmp_path, clock):
    from test_comparison import PLAN

    from litmus.report.comparison_plan import write_plan

    write_plan(tmp_path, PLAN, [], "")
    sweep = tmp_path / "evaluate" / "1-optim-sgd"
    fake_run(sweep / "0", "optim=sgd", "optim.lr=0.01", "seed=0", metrics={"test/acc": 0.9})
    page = SweepPage(sweep, total=9)
    clock[0] += 10
    page.update(1)
    page.finish()
    assert not (sweep / "report").exists()
    assert REFRESH in (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / FILE).exists()
