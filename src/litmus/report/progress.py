"""The page of a sweep that is still running: tables without figures, which are cheap to write often."""

from datetime import datetime
from pathlib import Path

from litmus.core.atomic_files import write_text
from litmus.report import contents
from litmus.report.blocks import Block, Heading, Paragraph
from litmus.report.html import html
from litmus.report.settings import compare
from litmus.runs.reading import read_runs

RELOAD_AFTER = 10  # seconds


def write_progress(folder: Path, done: int, total: int, is_running: bool = True) -> Path:
    """Writes index.html of a sweep of which `done` of `total` jobs have ended. While it is running, the page reloads
    itself.
    """
    runs, left_out = read_runs([folder])
    comparison, besides = compare(runs)
    progress = f"{done} of {total} jobs have ended. "
    stopped = Paragraph(f"Incomplete: {progress}The sweep was interrupted; the same command resumes it.")
    blocks: list[Block] = [running_note(progress) if is_running else stopped]
    blocks += contents.summary(comparison, [*left_out, *besides])
    if comparison is not None:
        blocks += [Heading("Settings"), contents.settings_table(comparison)]
    file = folder / "report" / "index.html"
    name = f"Report: {folder.resolve().name}"
    write_text(file, html(name, blocks, file.parent, RELOAD_AFTER if is_running else None))
    return file


def running_note(progress: str = "") -> Paragraph:
    return Paragraph(
        f"Running at {datetime.now():%H:%M:%S}. {progress}This page reloads itself; figures are drawn at the end."
    )
