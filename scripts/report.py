"""The report of a sweep, or of any runs: python scripts/report.py outputs/sweeps/NAME [more folders]."""

import argparse
from pathlib import Path

from litmus import cli
from litmus.errors import require
from litmus.report import write_report
from litmus.report.comparison_page import write_comparison
from litmus.report.comparison_plan import is_comparison


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description="Writes index.html, report.md, runs.csv and figures of finished runs.")
    parser.add_argument("folder", nargs="+", type=Path, help="a sweep, a run, or any folder above some")
    parser.add_argument("--out", type=Path, help="where to write; report/ in the first folder if left out")
    parser.add_argument(
        "--pair",
        nargs=2,
        metavar="SETTING",
        help="also compare two settings over their common seeds: --pair 'penalty=l1 optim.lr=0.1' 'penalty=l2 …'",
    )
    parser.add_argument(
        "--equivalence",
        type=float,
        metavar="DELTA",
        help="the largest difference that does not matter, in percentage points of accuracy (of a loss: in its unit); "
        "settings that are shown to differ by less are called equivalent",
    )
    parser.add_argument(
        "--latex",
        action="store_true",
        help="also write table.tex (booktabs), methods.md (a paragraph for a methods section), and the figures as PDF",
    )
    args = parser.parse_args()
    for folder in args.folder:
        require(folder.is_dir(), f"{folder} is not a folder: give a sweep's, such as outputs/sweeps/NAME")
        is_sweep = any(next(folder.rglob(name), None) for name in ("run.json", "logs/*.log"))
        require(is_sweep, f"{folder} holds no run: give the folder of a sweep")
    require(
        args.out is None or args.out.is_dir() or not args.out.exists(), f"--out {args.out} is a file: give a folder"
    )
    if len(args.folder) == 1 and is_comparison(args.folder[0]):
        for name in ("pair", "equivalence"):
            require(
                getattr(args, name) is None,
                f"--{name} is not for a comparison, whose plan says what is judged: leave it out, or give "
                f"{args.folder[0] / 'evaluate'}",
            )
        page = write_comparison(args.folder[0], args.out, for_paper=args.latex)
    else:
        page = write_report(args.folder, args.out, args.pair, args.equivalence, args.latex)
    print(page)


if __name__ == "__main__":
    main()
