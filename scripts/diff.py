"""Shows how two runs differ in config, data, packages, machine and code: python scripts/diff.py RUN RUN."""

import argparse
from pathlib import Path

from litmus import cli
from litmus.report.difference import describe_difference


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("other", type=Path, help="another one")
    args = parser.parse_args()
    print(describe_difference(args.run, args.other))


if __name__ == "__main__":
    main()
