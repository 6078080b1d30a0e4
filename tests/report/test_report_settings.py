import pytest
from fake_runs import edit, fake_run, fake_sweep

from litmus.errors import ConfigError
from litmus.report import compare, read_runs, write_report
from litmus.report.pairs import find, pair_tables


def comparison(*folders):
    found, left_out = compare(read_runs(folders)[0])
    return found, left_out


def names(found) -> set[str]:
    return {str(setting) for setting in found.settings}


def test_settings_are_what_differs_but_for_the_seed(tmp_path):
    found, _ = comparison(fake_sweep(tmp_path, "penalty=l1,l2", "penalty.weight=1e-4,1e-3", "seed=0,1,2"))
    assert found.keys == ["penalty", "penalty.weight"]
    assert found.along == []
    assert names(found) == {
        "penalty=l1 penalty.weight=1e-4",
        "penalty=l1 penalty.weight=0.001",
        "penalty=l2 penalty.weight=1e-4",
        "penalty=l2 penalty.weight=0.001",
    }
    assert all([run.seed for run in setting.runs] == [0, 1, 2] for setting in found.settings)


def test_the_mean_is_over_seeds_and_the_best_comes_first(tmp_path):
    for optim, accuracies in {"sgd": (0.5, 0.7), "adam": (0.6, 0.9)}.items():
        for seed, accuracy in enumerate(accuracies):
            fake_run(tmp_path / f"{optim}{seed}", f"optim={optim}", f"seed={seed}", accuracy=accuracy)
    found, _ = comparison(tmp_path)
    assert [(str(s), pytest.approx(s.mean("val/acc"))) for s in found.settings] == [
        ("optim=adam", 0.75),
        ("optim=sgd", 0.6),
    ]


def test_among_equals_the_lowest_validation_loss_comes_first(tmp_path):
    for lr, loss in (("0.1", 0.3), ("0.2", 0.1), ("0.3", 0.2)):
        fake_run(tmp_path / lr, f"optim.lr={lr}", metrics={"val/loss": loss})
    found, _ = comparison(tmp_path)
    assert [str(setting) for setting in found.settings] == ["optim.lr=0.2", "optim.lr=0.3", "optim.lr=0.1"]
    assert found.ties == 2


def test_the_lowest_loss_comes_first(tmp_path):
    for lr, accuracy in (("0.1", 0.9), ("0.2", 0.8)):
        options = {"accuracy": accuracy, "objective": "val/loss"}
        fake_run(tmp_path / lr, "objective=val/loss", f"optim.lr={lr}", **options)
    found, _ = comparison(tmp_path)
    assert (found.metric, str(found.best)) == ("val/loss", "optim.lr=0.1")


def test_other_data_is_another_setting_although_nobody_swept_it(tmp_path):
    fake_run(tmp_path / "a", "seed=0")
    fake_run(tmp_path / "b", "seed=1", "data=synthetic")
    found, _ = comparison(tmp_path)
    assert names(found) == {"data=mnist", "data=synthetic"}


def test_a_default_that_has_changed_in_conf_divides_settings(tmp_path):
    for seed in range(2):
        fake_run(tmp_path / str(seed), f"seed={seed}", "penalty=l1")
    edit(tmp_path / "0", penalty__weight=0.5)
    edit(tmp_path / "1", penalty__weight=0.25)
    found, _ = comparison(tmp_path)
    assert names(found) == {"penalty.weight=0.5", "penalty.weight=0.25"}


def test_what_follows_a_column_is_told_and_not_hidden(tmp_path):
    fake_run(tmp_path / "a", "optim=adam")
    fake_run(tmp_path / "b", "optim=sgd")
    edit(tmp_path / "b", trainer__max_epochs=999)
    found, _ = comparison(tmp_path)
    assert (found.keys, found.along) == (["optim"], ["trainer.max_epochs"])


def test_where_a_run_lies_and_what_it_logs_make_no_setting(tmp_path):
    fake_run(tmp_path / "a", "seed=0", "sweep_name=one", "data.data_dir=here")
    fake_run(tmp_path / "b", "seed=1", "sweep_name=two", "data.data_dir=there", "logger=none", "test=true")
    found, _ = comparison(tmp_path)
    assert (found.keys, len(found.settings), len(found.runs)) == ([], 1, 2)


def test_the_same_experiment_twice_counts_once(tmp_path):
    fake_run(tmp_path / "a", "seed=3")
    fake_run(tmp_path / "b", "seed=3")
    found, left_out = comparison(tmp_path)
    assert len(found.runs) == 1
    assert [(run.path.name, run.status) for run in left_out] == [("b", "repeated")]


def test_runs_without_the_metric_are_left_out(tmp_path):
    fake_sweep(tmp_path, "seed=0,1")
    fake_run(tmp_path / "other", "data.val_size=0", objective="train/loss")
    result = tmp_path / "other" / "result.json"
    result.write_text(result.read_text().replace("val/", "nothing/"))
    found, left_out = comparison(tmp_path)
    assert (found.metric, len(found.runs)) == ("val/acc", 2)
    assert [(run.path.name, run.status) for run in left_out] == [("other", "incomparable")]


def test_a_lucky_setting_with_few_seeds_is_not_the_best(tmp_path):
    fake_sweep(tmp_path / "a", "optim.lr=0.1,0.2", "seed=0,1,2")
    fake_run(tmp_path / "lucky", "optim.lr=0.3", "seed=0", accuracy=0.999)
    found, _ = comparison(tmp_path)
    assert str(found.settings[-1]) == "optim.lr=0.3"
    assert found.best is found.settings[0]


def test_a_key_that_not_all_settings_have_is_absent_there(tmp_path):
    fake_run(tmp_path / "a", "penalty=none")
    fake_sweep(tmp_path / "b", "penalty=l1", "penalty.weight=1e-5,1e-4")
    found, _ = comparison(tmp_path)
    assert names(found) == {"penalty=none", "penalty=l1 penalty.weight=1e-5", "penalty=l1 penalty.weight=1e-4"}


def test_switching_a_callback_off_is_a_setting(tmp_path):
    fake_run(tmp_path / "a", "callbacks.early_stopping=null")
    fake_run(tmp_path / "b")
    found, _ = comparison(tmp_path)
    assert names(found) == {"callbacks.early_stopping=null", "callbacks.early_stopping={…}"}


def test_pairs_change_one_thing_and_keep_the_rest(tmp_path):
    found, _ = comparison(fake_sweep(tmp_path, "penalty=l1,l2", "optim.lr=0.1,0.2,0.3", "seed=0,1"))
    by_name = {table.name: table for table in pair_tables(found)}
    assert [pair.label for pair in by_name["penalty"].pairs] == [f"l2 − l1 at optim.lr={lr}" for lr in (0.1, 0.2, 0.3)]
    for pair in by_name["penalty"].pairs:
        assert pair.setting.values == pair.reference.values | {"penalty": "l2"}
        seeds = zip(pair.setting.all("val/acc"), pair.reference.all("val/acc"), strict=True)
        assert pair.difference.mean == pytest.approx(sum(a - b for a, b in seeds) / 2)
    assert len(by_name["best"].pairs) == 5
    assert all(pair.reference is found.best for pair in by_name["best"].pairs)


def test_each_penalty_is_compared_with_none_at_each_of_its_weights(tmp_path):
    fake_sweep(tmp_path / "a", "penalty=none", "seed=0,1")
    fake_sweep(tmp_path / "b", "penalty=l1", "penalty.weight=1e-5,1e-4", "seed=0,1")
    found, _ = comparison(tmp_path)
    table = next(table for table in pair_tables(found) if table.name == "penalty")
    assert {p.label for p in table.pairs} == {"l1 − none at penalty.weight=1e-5", "l1 − none at penalty.weight=1e-4"}


def test_a_pair_can_be_asked_for(tmp_path):
    found, _ = comparison(fake_sweep(tmp_path, "optim.lr=0.1,0.002,0.3,0.4,0.5", "seed=0,1"))
    table = pair_tables(found, ("optim.lr=2e-3", "optim.lr=0.1"))[0]
    assert [pair.label for pair in table.pairs] == ["(optim.lr=0.002) − (optim.lr=0.1)"]
    assert table.pairs[0].setting is find(found, "optim.lr=0.002")


@pytest.mark.parametrize(("text", "fits"), [("optim.lr=9", "no setting"), ("", "2 settings")])
def test_a_pair_that_is_not_one_setting_each_is_refused(tmp_path, text, fits):
    found, _ = comparison(fake_sweep(tmp_path, "optim.lr=0.1,0.2"))
    with pytest.raises(ConfigError, match=f"fits {fits} of this report: give each of optim.lr, such as"):
        find(found, text)


def test_a_repeated_run_is_listed_with_what_differs(tmp_path, caplog):
    caplog.set_level("INFO", logger="litmus")
    fake_run(tmp_path / "a", git_commit="abc", accuracy=0.8)
    fake_run(tmp_path / "b", git_commit="def", accuracy=0.9)
    page = write_report([tmp_path])
    for text in (caplog.text, page.read_text(), page.with_name("report.md").read_text()):
        assert "git commit is def here and abc there" in text
        assert "val/acc is 0.9 here and 0.8 there" in text


def test_diverged_runs_are_named(tmp_path):
    fake_run(tmp_path / "a", "optim.lr=9", diverged=True)
    fake_run(tmp_path / "b", "optim.lr=9", "seed=1")
    fake_run(tmp_path / "c", "optim.lr=0.1")
    page = write_report([tmp_path]).with_name("report.md").read_text()
    assert "Training diverged in 1 of the 2 runs of optim.lr=9" in page
    assert "reached; diverged" in (tmp_path / "report" / "index.html").read_text()
