"""Tests a trained model again, from its run alone, and looks closer:

    python scripts/evaluate.py RUN                         on the run's own test images
    python scripts/evaluate.py RUN --data folder           on the pictures of another folder (its test/, or all of it)
    python scripts/evaluate.py RUN --data mine.npz         on the x_test and y_test of a file
    python scripts/evaluate.py RUN --data fashion_mnist    on the test images of another set of conf/data

Prints accuracy, calibration, precision, recall and F1 of each class and the confusion matrix, and writes them with the
pictures to RUN/evaluation/own or RUN/evaluation/DATA, with -last for the last checkpoint.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litmus import cli
from litmus.core.atomic_files import write_json
from litmus.errors import ConfigError, closest, require

if TYPE_CHECKING:
    from litmus.inference.evaluation import EvaluationResult

ROOT = Path(__file__).resolve().parent.parent
PRINTED = 20  # classes up to which the confusion matrix fits on a screen


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="its folder, or a checkpoint")
    parser.add_argument("--data", help="a folder, an .npz file or the name of a data set; the run's own if left out")
    parser.add_argument("--data-dir", help="where downloads are; where the run had them if left out")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which of the run's")
    parser.add_argument("--out", type=Path, help="where to write; RUN/evaluation/… if left out")
    cli.add_trust(parser)
    args = parser.parse_args()

    from litmus.inference.evaluation import evaluate, other_data, own_data, stored_data, warn_if_unlike_run
    from litmus.inference.loading import load_checked, output_folder

    trained = load_checked(args.run, args.checkpoint, args.trust, with_loss=True)
    data_dir = args.data_dir or stored_data_dir(stored_data(trained))
    is_own, above = args.data is None, Path(args.run).expanduser()
    if is_own:
        data = own_data(trained, above, data_dir, args.trust)
    else:
        data = other_data(trained, config_of(args.data, data_dir, args.data_dir is not None))
    name = ("own" if is_own else data.name) + ("-last" if args.checkpoint == "last" else "")
    directory = args.out or output_folder(above, "evaluation") / name
    found = evaluate(trained, data, directory)
    if is_own and args.checkpoint == "best":
        warn_if_unlike_run(above, found.figures)
    write_json(directory / "evaluation.json", {"run": args.run, "checkpoint": args.checkpoint, **found.figures})
    print(f"\n{as_text(found)}\n\n{directory}")


def stored_data_dir(data: dict[str, Any]) -> str:
    """Where the run had its downloads, if that folder is here: a checkpoint of someone else creates no other one."""
    there = data.get("data_dir")
    return there if isinstance(there, str) and Path(there).expanduser().is_dir() else "data"


def config_of(what: str, data_dir: str, is_dir_given: bool) -> Any:
    """The folder or file itself, or the config of a data set."""
    from hydra import compose, initialize_config_dir

    require(what != "", "--data is empty: give data, or leave it out; a shell variable in it may not be set")
    if Path(what).expanduser().exists():
        require(not is_dir_given, f"--data-dir is where downloads are, and --data {what} is here: leave --data-dir out")
        return what
    names = sorted(file.stem for file in (ROOT / "conf" / "data").glob("*.yaml"))
    if what not in names:
        near = closest(what, names)
        hint = f"did you mean {near}?" if near else f"give a folder, an .npz file or one of {', '.join(names)}"
        raise ConfigError(f"--data {what} does not exist: {hint}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [f"data={what}", f"data.data_dir='{data_dir}'"]).data


def as_text(found: "EvaluationResult") -> str:
    figures = found.figures
    wide = max(len("class"), *(len(one["name"]) for one in figures["classes"]))
    rows = [*figures["classes"], {"name": "mean", "images": figures["images"], **figures["macro"]}]
    lines = [
        f"{figures['data']}: accuracy {100 * figures['accuracy']:.2f} % of {figures['images']:,} images, "
        f"loss {figures['loss']:.4f}, expected calibration error {100 * figures['expected_calibration_error']:.2f} %",
        "",
        f"{'class':<{wide}}  images  precision  recall      F1",
    ]
    for row in rows:
        shares = ["-" if row[name] is None else f"{100 * row[name]:.1f} %" for name in ("precision", "recall", "f1")]
        lines.append(
            f"{row['name']:<{wide}}  {row['images']:>6}  {shares[0]:>9}  {shares[1]:>6}  {shares[2]:>6}".rstrip()
        )
    if len(figures["classes"]) <= PRINTED:
        cell = max(len(str(int(found.counts.max()))), 2) + 1
        lines += ["", "true class (row) taken for (column, in the same order)"]
        for row, counts in zip(figures["classes"], found.counts.tolist(), strict=True):
            lines.append(f"{row['name']:<{wide}} {''.join(f'{count:>{cell}}' for count in counts)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
