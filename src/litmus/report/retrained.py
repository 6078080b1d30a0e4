"""Results of scripts/retrain.py in a sweep folder."""

import json
from pathlib import Path

from litmus.report.blocks import Block, Code, Heading, Paragraph, Table
from litmus.report.formatting import format_metric
from litmus.runs.reading import DAMAGE


def retrained(folder: Path) -> list[Block]:
    """The section on retrained models; empty if there are none, or if retrain.json is damaged."""
    try:
        records = json.loads((folder / "retrain.json").read_text(encoding="utf-8"))["retrained"]
        return [block for record in records for block in _section(record)]
    except DAMAGE:
        return []


def _section(record: dict) -> list[Block]:
    rows = [
        [
            str(run["seed"]),
            format_metric("test/acc", run["test/acc"]),
            format_metric("test/loss", run["test/loss"]),
            run["directory"],
        ]
        for run in record["runs"]
    ]
    return [
        Heading("Retrained on everything, and tested"),
        Paragraph(f"{record['setting']}: {record['why']}. {'. '.join([record['epochs'], *record['notes']])}."),
        Table(["seed", "test accuracy (%)", "test loss", "directory"], rows),
        Code([run["command"] for run in record["runs"]]),
    ]
