"""Planned comparisons beside a reported experiment: run by scripts/compare.py, and stored as one JSON file each."""

import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from litmus.core.atomic_files import read_json, write_json
from litmus.report.blocks import Table
from litmus.report.comparison_page import status_line
from litmus.report.comparison_plan import is_comparison, plan_from, read_plan
from litmus.report.comparison_results import contrasts, deviations, is_complete, read_results
from litmus.report.contents import mean_cell
from litmus.report.formatting import title
from litmus.report.markdown import markdown_table
from litmus.report.verdicts import contrast_sentence
from litmus.runs.identity import sweep_folder

ROOT = Path(__file__).resolve().parents[2]


def command(spec: dict[str, Any]) -> list[str]:
    return ["scripts/compare.py", *shlex.split(spec["arguments"]), "--name", spec["name"]]


def run(spec: dict[str, Any], jobs: int) -> bool:
    """Whether the comparison has finished."""
    arguments = [*command(spec), f"jobs={jobs}"]
    print(shlex.join(["python", *arguments]), flush=True)
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode == 0


def store(spec: dict[str, Any], results: Path) -> None:
    """Writes what a finished comparison found to the folder `results`; nothing if it has not finished."""
    folder = ROOT / sweep_folder(spec["name"])
    if not is_comparison(folder):
        return
    plan = read_plan(folder)
    found = read_results(folder, plan)
    if not is_complete(plan, found):
        return
    arms = {
        result.arm.name: {
            "chosen": result.tuned,
            "trials": len(result.trials),
            "seconds": [round(run.seconds, 1) for run in result.runs.values()],
            "values": {str(seed): value for seed, value in result.by_seed(plan.metric).items()},
        }
        for result in found
    }
    facts = {"status": status_line(plan, found), "deviations": deviations(plan, found)}
    write_json(results / f"{spec['name']}.json", {"plan": asdict(plan), "arms": arms, **facts})


def section(spec: dict[str, Any], results: Path) -> list[str]:
    """The paragraphs and the table of a stored comparison; empty if there is none."""
    file = results / f"{spec['name']}.json"
    if not file.exists():
        return []
    stored = read_json(file, "plan", "arms", "status", "deviations")
    plan = plan_from(stored["plan"], file)
    values = {name: {int(seed): v for seed, v in arm["values"].items()} for name, arm in stored["arms"].items()}
    rows = [
        [
            name,
            " ".join(arm["chosen"]) or "–",
            mean_cell(plan.metric, list(values[name].values())),
            str(len(values[name])),
            f"{fmean(arm['seconds']):.0f}",
        ]
        for name, arm in stored["arms"].items()
    ]
    columns = ["arm", "chosen by tuning", f"{title(plan.metric)}, %", "seeds", "seconds"]
    judged = [contrast_sentence(*one, plan.metric, plan.mode) for one in contrasts(plan, values)]
    status = " ".join([stored["status"], *stored["deviations"]])
    shell = "\n".join(["```sh", shlex.join(["python", *command(spec)]), "```"])
    return [
        spec["text"].strip(),
        shell,
        markdown_table(Table(columns, rows)),
        *judged,
        status,
    ]
