"""Many runs in, one report out: statistics, tables, figures, HTML, Markdown. Starts no runs."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from litmus.core.atomic_files import write_text
from litmus.errors import require
from litmus.report import contents, latex, methods
from litmus.report.blocks import Block, Folded, Heading, Image, Paragraph
from litmus.report.formatting import scaled
from litmus.report.html import html
from litmus.report.markdown import markdown
from litmus.report.pairs import pair_tables
from litmus.report.progress import write_progress
from litmus.report.retrained import retrained
from litmus.report.settings import Comparison, Setting, compare
from litmus.runs.reading import ExcludedRun, Run, read_commands, read_runs

__all__ = ["Comparison", "ExcludedRun", "Run", "Setting", "compare", "read_runs", "write_progress", "write_report"]

log = logging.getLogger("litmus")

PICTURES = ("against-*.png", "matrix-*.png", "pairs-*.png", "curves-*.png")


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    pair: tuple[str, str] | None = None,
    equivalence: float | None = None,
    for_paper: bool = False,
) -> Path:
    """Writes index.html, report.md, runs.csv and the figures of all runs at or below the folders. Returns the path of
    index.html. If it is `for_paper`, also table.tex, methods.md, and the figures as PDF.

    They are written to `out`, or to `report` in the first folder. Other content of the folders is named in the report,
    and a complete run that is not counted also on the terminal. `pair` holds two settings, each as `key=value
    key=value`, to compare in addition; raises ConfigError if they cannot be found. Differences within ±`equivalence`
    (percentage points of an accuracy, otherwise the metric's unit) can be judged equivalent.
    """
    require(
        equivalence is None or 0 < equivalence < math.inf,
        f"--equivalence={equivalence} is not a difference above 0: give the largest that does not matter, such as 0.2",
    )
    folders = [Path(folder) for folder in folders]
    out = Path(out) if out else folders[0] / "report"
    for_paper = for_paper or (out / "table.tex").exists()  # which would no longer fit the page
    runs, left_out = read_runs(folders)
    comparison, besides = compare(runs)
    left_out += besides
    for other in besides:
        log.info(f"not counted: {other.path} ({other.status}): {other.why}")
    columns, rows = contents.csv_rows(comparison, left_out)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)

    title = f"Report: {', '.join(folder.resolve().name for folder in folders[:3])}{' …' * (len(folders) > 3)}"
    delta = equivalence / scaled(comparison.metric, 1) if comparison and equivalence else None
    blocks = contents.summary(comparison, left_out, delta)
    blocks += [block for folder in folders for block in retrained(folder)]
    html_only: list[Block] = []
    if comparison is not None:
        with pdf_figures(for_paper):
            blocks += _results(comparison, out, pair, delta)
        if for_paper:
            write_text(out / "table.tex", latex.settings_table(comparison, delta))
            write_text(out / "methods.md", methods.methods_of_settings(comparison, delta))
        blocks += contents.commands(comparison, [command for folder in folders for command in read_commands(folder)])
        html_only = [Heading("Runs"), Folded("All runs that are counted", [contents.runs_table(comparison)])]
    end = contents.excluded_runs_table(left_out)
    _remove_old_pictures(out, {block.file for block in blocks if isinstance(block, Image)})
    write_text(out / "runs.csv", text.getvalue())
    files = Paragraph("runs.csv holds every run in full precision.")
    write_text(out / "report.md", markdown(title, [*blocks, *end, files]))
    write_text(out / "index.html", html(title, [*blocks, *html_only, *end], out))
    return out / "index.html"


def _results(comparison: Comparison, out: Path, pair: tuple[str, str] | None, delta: float | None) -> list[Block]:
    from litmus.report import figures  # matplotlib takes half a second

    tables = pair_tables(comparison, pair, delta)
    blocks: list[Block] = [Heading("Settings"), contents.settings_table(comparison)]
    swept = figures.draw_swept(comparison, out) + figures.draw_matrices(comparison, out)
    if swept:
        blocks += [Heading("What was swept"), *swept]
    if tables:
        blocks.append(Heading("Settings compared in pairs, over their common seeds"))
    for table in tables:
        how = comparison.metric, comparison.mode
        blocks += [figures.draw_paired(table, *how, out), contents.pair_table(table, *how)]
    curves = figures.draw_curves(comparison, out)
    if curves:
        blocks += [Heading("Curves"), *curves]
    return blocks


def pdf_figures(for_paper: bool) -> AbstractContextManager[None]:
    """Inside, figures are written as PDF too, if they are for a paper."""
    from litmus.report.figures import also_as_pdf

    return also_as_pdf() if for_paper else nullcontext()


def _remove_old_pictures(folder: Path, new: set[str]) -> None:
    for pattern in PICTURES:
        for file in folder.glob(pattern):
            if file.name not in new:
                file.unlink()
                file.with_suffix(".pdf").unlink(missing_ok=True)
