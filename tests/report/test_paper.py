"""The table, the paragraph and the figures for a paper."""

import re

import pytest
from fake_runs import fake_run
from test_comparison import PLAN, TESTED, evaluate, start

from litmus.report import compare, write_report
from litmus.report.comparison_page import write_comparison
from litmus.report.comparison_plan import write_plan
from litmus.report.latex import booktabs, escape, settings_table
from litmus.runs.reading import read_runs


def check_tabular(text: str) -> list[list[str]]:
    """The cells of a tabular environment that LaTeX can read: balanced, escaped, with as many cells as columns."""
    begin = re.search(r"\\begin\{tabular\}\{([lrc]+)\}\n\\toprule\n", text)
    assert begin is not None
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")
    body = text[begin.end() : text.index("\\bottomrule")].replace("\\midrule\n", "")
    rows = []
    for line in body.splitlines():
        assert line.endswith(r" \\")
        cells = line.removesuffix(r" \\").split(" & ")
        assert len(cells) == len(begin[1])
        assert all(len(re.findall(r"(?<!\\)[{]", cell)) == len(re.findall(r"(?<!\\)[}]", cell)) for cell in cells)
        assert not any(re.search(r"(?<!\\)[&%#_]", cell) for cell in cells)
        rows.append(cells)
    return rows


def test_every_special_character_is_escaped():
    text = escape("a_b 5% R&D #1 {x} $2 ~/c^2 \\d −1 ± 2")
    assert text == (
        r"a\_b 5\% R\&D \#1 \{x\} \$2 \textasciitilde{}/c\textasciicircum{}2 \textbackslash{}d $-$1 $\pm$ 2"
    )


def test_a_table_of_odd_names_can_be_read():
    rows = check_tabular(booktabs(["a_b", "x & y"], [["100 %", "{1}"], ["~", "#"]], "lr"))
    assert rows[0] == [r"a\_b", r"x \& y"]


def test_the_table_of_settings_has_the_intervals_of_the_t_test(tmp_path):
    for seed, (first, second) in enumerate(((0.90, 0.91), (0.91, 0.921), (0.92, 0.932))):
        fake_run(tmp_path / f"a{seed}", "optim=sgd", f"seed={seed}", accuracy=first)
        fake_run(tmp_path / f"b{seed}", "optim=adam", f"seed={seed}", accuracy=second)
    comparison, _ = compare(read_runs([tmp_path])[0])
    header, best, other = check_tabular(settings_table(comparison))
    assert header[:3] == ["optim", r"validation accuracy (\%)", "seeds"]
    assert best == ["adam", r"92.10 $\pm$ 1.10", "3", "--", "--"]
    # The differences 1, 1.1 and 1.2 have the deviation 0.1, and t(0.975, 2) is 4.3027.
    assert other == ["sgd", r"91.00 $\pm$ 1.00", "3", "$-$1.10 [$-$1.35 to $-$0.85]", "worse"]


@pytest.mark.parametrize("for_paper", [False, True])
def test_the_files_for_a_paper_are_written_on_request(tmp_path, for_paper):
    for seed in range(2):
        fake_run(tmp_path / f"a{seed}", "optim=sgd", f"seed={seed}", accuracy=0.9)
        fake_run(tmp_path / f"b{seed}", "optim=adam", f"seed={seed}", accuracy=0.95)
    out = write_report([tmp_path], for_paper=for_paper).parent
    assert (out / "table.tex").exists() == (out / "methods.md").exists() == for_paper
    pictures = {file.stem for file in out.glob("*.png")}
    assert pictures
    assert {file.stem for file in out.glob("*.pdf")} == (pictures if for_paper else set())


def test_the_paragraph_has_the_numbers_of_the_runs(tmp_path):
    facts = {"git_commit": "abc1234", "packages": {"torch": "2.15.0"}, "machine": "Linux", "python": "3.12.1"}
    for seed in range(3):
        fake_run(tmp_path / f"a{seed}", "optim=sgd", f"seed={seed}", **facts)
        fake_run(tmp_path / f"b{seed}", "optim=adam", f"seed={seed}", metrics={"test/acc": 0.9}, **facts)
    text = (write_report([tmp_path], for_paper=True, equivalence=0.5).parent / "methods.md").read_text()
    for part in (
        "2 settings on mnist (54,000 training, 6,000 validation, 10,000 test images)",
        "3 random seeds (0, 1, 2)",
        "batches of 64 images",
        "chosen by validation accuracy",
        "in 3 of 6 runs",
        "within 0.50 points",
        "on the CPU with 1 thread(s) (Linux), with Python 3.12.1, torch 2.15.0",
        "PyTorch Lightning not recorded",
        "commit abc1234",
    ):
        assert part in text, part


def test_a_planned_comparison_has_both_too(tmp_path):
    folder = tmp_path / "c"
    write_plan(folder, PLAN, [], "")
    for arm in PLAN.arms:
        path = folder / "tune" / arm.slug(PLAN) / "0.01"
        fake_run(path, *arm.overrides, "optim.lr=0.01", "seed=1000")
        start(path, "2026-01-02T03:10:00")
        for seed, accuracy in enumerate(TESTED[arm.name.partition("=")[2]]):
            evaluate(folder, arm, seed, accuracy)
    out = write_comparison(folder, for_paper=True).parent
    _, sgd, adam = check_tabular((out / "table.tex").read_text())
    assert sgd == ["optim=sgd", "optim.lr=0.01", r"91.00 $\pm$ 1.00", "3", "--", "--", "--"]
    assert adam[4:] == ["optim=sgd", "+4.83 [+4.12 to +5.55]", "better"]
    text = (out / "methods.md").read_text()
    for part in ("tuned for each of them with 3 trials", "seed 1000", "3 seeds 0 to 2", "1 planned contrast"):
        assert part in text, part
    assert (out / "pairs-contrasts.pdf").exists()


def test_the_files_for_a_paper_are_rewritten_with_the_report(tmp_path):
    for seed in range(2):
        fake_run(tmp_path / f"a{seed}", "optim=sgd", f"seed={seed}", accuracy=0.9)
        fake_run(tmp_path / f"b{seed}", "optim=adam", f"seed={seed}", accuracy=0.95)
    out = write_report([tmp_path], for_paper=True).parent
    fake_run(tmp_path / "a2", "optim=sgd", "seed=2", accuracy=0.9)
    write_report([tmp_path])
    assert "(0, 1, 2)" in (out / "methods.md").read_text()
