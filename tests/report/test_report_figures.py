import pytest
from fake_runs import fake_run, fake_sweep
from matplotlib.figure import Figure

from litmus.report import compare, read_runs
from litmus.report.figures import draw_curves, draw_matrices, draw_swept
from litmus.report.figures.curves import _paint, _sheets, band, measure
from litmus.report.figures.style import MOST_LINES, reach
from litmus.report.figures.swept import dress_x_axis, scale


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-5, 1e-4, 1e-3], "log"),
        ([0, 1e-4, 1e-3, 1e-2], "log"),
        ([16, 32, 64, 128], "log"),
        ([1e-4, 1e-3], "log"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "linear"),
        ([0.0, 0.25, 0.5], "linear"),
        ([-1.0, 1.0, 100.0], "linear"),
        ([0, 1], "linear"),
        ([2, 3], "linear"),
        (["adam", "sgd"], "words"),
        ([1, "auto"], "words"),
    ],
)
def test_the_axis_is_logarithmic_where_the_values_call_for_it(values, kind):
    assert scale(values).kind == kind


def test_zero_stands_one_step_left_of_the_smallest_on_a_logarithmic_axis():
    assert scale([0, 1e-4, 1e-3, 1e-2]).places == pytest.approx({0: 1e-5, 1e-4: 1e-4, 1e-3: 1e-3, 1e-2: 1e-2})


@pytest.mark.parametrize(
    ("distances", "furthest"),
    [
        ([0, 0.1, 0.3, 0.8, 72], 0.8),  # one collapsed
        ([0, 1, 2, 3, 4, 5], None),  # evenly spread
        ([0, 0.1, 0.2, 50, 60, 70], 0.2),  # half of them collapsed
        ([0, 0.1, 50, 60, 70], None),  # most of them: that is the picture
        ([0, 0, 0, 9], None),  # nothing to look at besides
        ([0, 0.1, 9], None),  # too few to speak of
        ([], None),
    ],
)
def test_a_figure_reaches_to_the_last_setting_before_the_collapsed_ones(distances, furthest):
    assert reach(distances) == furthest


def test_a_band_ends_where_the_first_seed_ends():
    rows = [[{"epoch": e, "val/acc": 0.1 * e + 0.02 * seed} for e in range(1, 5 - seed)] for seed in (0, 1)]
    epochs, mean, deviation = band(rows, "val/acc")
    assert epochs == [1, 2, 3]
    assert mean == pytest.approx([11, 21, 31])
    assert deviation == pytest.approx([2**0.5] * 3)


def test_the_gap_in_loss_is_validation_minus_training():
    assert measure({"epoch": 1, "val/loss": 0.5, "train/loss": 0.2}, "gap/loss") == pytest.approx(0.3)
    assert measure({"epoch": 1, "val/loss": 0.5}, "gap/loss") is None


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    fake_sweep(folder, "penalty=l1,l2", "penalty.weight=0,1e-4,1e-3,1e-2", "optim.lr=0.1,0.2", "seed=0,1", epochs=3)
    return compare(read_runs([folder])[0])[0]


def test_no_sheet_has_more_lines_than_can_be_told_apart(grid):
    sheets = _sheets(grid.settings, grid.keys)
    assert max(map(len, sheets)) <= MOST_LINES
    assert sorted(id(s) for sheet in sheets for s in sheet) == sorted(map(id, grid.settings))
    for sheet in sheets:
        assert len({setting.values["penalty"] for setting in sheet}) == 1


def test_each_swept_key_and_each_pair_of_them_has_its_figure(grid, tmp_path):
    files = [picture.file for picture in draw_swept(grid, tmp_path) + draw_matrices(grid, tmp_path)]
    assert files == [
        "against-penalty.png",
        "against-penalty.weight.png",
        "against-optim.lr.png",
        "matrix-penalty.weight-optim.lr.png",
        "matrix-penalty-optim.lr.png",
        "matrix-penalty-penalty.weight.png",
    ]
    for file in files:
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def test_a_matrix_of_two_among_three_keys_says_what_it_holds_fixed(grid, tmp_path):
    caption = next(p.caption for p in draw_matrices(grid, tmp_path) if p.file == "matrix-penalty-penalty.weight.png")
    assert f"where optim.lr={grid.best.values['optim.lr']}, as in the best setting" in caption


def test_the_curves_say_how_many_settings_they_leave_out(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("litmus.report.figures.curves.MOST_SETTINGS", 2)
    (picture,) = draw_curves(grid, tmp_path)
    assert picture.caption.startswith("Of 16 settings the best 2 are drawn. ")


def test_odd_names_and_numbers_are_drawn_too(tmp_path):
    for number, value in enumerate(["'a$b$c^{'", "'${seed}'", "'测试'", "'<b>'", ".inf", "-.inf", "1e400", "'x' * 9"]):
        run = fake_run(tmp_path / str(number), f"seed={number % 2}")
        config = run / ".hydra" / "config.yaml"
        config.write_text(config.read_text().replace("name: mnist", f"name: {value}"))
        with (run / "metrics.csv").open("a") as file:
            file.write("5,inf,nan,-inf,1e308,,,\n")
    found = compare(read_runs([tmp_path])[0])[0]
    assert found.keys == ["data.name"]
    pictures = draw_swept(found, tmp_path) + draw_matrices(found, tmp_path) + draw_curves(found, tmp_path)
    assert [picture.file for picture in pictures] == ["against-data.name.png", "curves-1.png", "curves-2.png"]


def test_many_values_within_one_decade_have_round_ticks(tmp_path):
    for number in range(14):
        fake_run(tmp_path / str(number), f"optim.lr={0.001 * 1.15**number}")
    found = compare(read_runs([tmp_path])[0])[0]
    values = found.values("optim.lr")
    axes = Figure().subplots()
    dress_x_axis(axes, scale(values), "optim.lr")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.002", "0.005"]


def test_a_single_run_has_curves_and_nothing_else(tmp_path):
    found = compare(read_runs([fake_run(tmp_path / "a", epochs=1)])[0])[0]
    assert draw_swept(found, tmp_path) + draw_matrices(found, tmp_path) == []
    assert [picture.file for picture in draw_curves(found, tmp_path)] == ["curves-1.png"]


def panels(**ends):
    """The panels that are drawn for a run whose metrics rise, or fall, to these ends."""
    figure = Figure()
    rows = [{"epoch": epoch} | {name: start + (end - start) * epoch / 5 for name, (start, end) in ends.items()}
            for epoch in range(1, 6)]  # fmt: skip
    _paint(figure, lines=[("a", [rows])], heading="", losses=set(), which="")
    return {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}


def test_test_curves_are_drawn_where_there_is_no_validation():
    losses = {"train/loss": (2.0, 0.01), "test/loss": (2.0, 0.5)}
    found = panels(**losses, **{"train/acc": (0.1, 1.0), "test/acc": (0.1, 0.8)})
    assert list(found) == ["Training loss", "Test loss", "Training accuracy", "Test accuracy"]
    assert found["Training loss"].get_yscale() == found["Test loss"].get_yscale() == "log"
    assert found["Training loss"].get_ylim() == found["Test loss"].get_ylim()
    chosen = panels(**{f"{part}/acc": (0.1, 0.8) for part in ("train", "val", "gap", "test")})
    assert list(chosen) == ["Training accuracy", "Validation accuracy", "Gap in accuracy"]


@pytest.mark.parametrize(("validation", "scale"), [(0.99, "function"), (0.7, "linear")])
def test_error_axis_is_used_only_if_all_accuracies_are_high(validation, scale):
    found = panels(**{"train/acc": (0.1, 1.0), "val/acc": (0.1, validation)})
    assert [axes.get_yscale() for axes in found.values()] == [scale] * 2
