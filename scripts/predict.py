"""What a model says of pictures, of any size, or of whole folders of them:

python scripts/predict.py RUN photo.jpg
python scripts/predict.py RUN folder --json
python scripts/predict.py --arch resnet18 --weights DEFAULT photo.jpg        ImageNet's classes, without any run
python scripts/predict.py RUN photo.jpg --perturb gaussian_blur:kernel=51,sigma=0.1..2 --seed 0
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litmus import cli
from litmus.errors import require, whole_number

if TYPE_CHECKING:
    from litmus.inference.prediction import Answer, Prediction


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="RUN IMAGE", help="a run, and pictures or folders of them")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes to name")
    parser.add_argument("--json", action="store_true", help="for programs to read")
    parser.add_argument("--arch", help="a pretrained torchvision network in place of a run: resnet18, resnet34, …")
    parser.add_argument("--weights", help="of --arch: torchvision's name for them, or a file; DEFAULT if left out")
    parser.add_argument("--perturb", metavar="NAME:KEY=VALUE", help="also show the pictures changed, side by side")
    parser.add_argument("--seed", type=int, help="of what is random in --perturb; 0 if left out")
    parser.add_argument("--out", type=Path, help="the picture that --perturb writes; perturbed.png if left out")
    cli.add_trust(parser)
    args = parser.parse_args()
    logging.getLogger("litmus").setLevel(logging.WARNING)  # the answers alone go to the screen
    whole_number("--top", args.top, least=1)
    require(
        args.weights is None or args.arch is not None, "--weights is for --arch, and a run has its own: leave it out"
    )
    for name in ("seed", "out"):
        without = getattr(args, name) is not None and args.perturb is None
        require(not without, f"--{name} is for --perturb: leave it out, or add --perturb NAME:KEY=VALUE")
    run, images = (None, args.paths) if args.arch else (args.paths[0], args.paths[1:])
    require(bool(images), f"there is no picture to look at: python scripts/predict.py {run} IMAGE")

    from litmus.inference.loading import load
    from litmus.inference.perturbations import Perturbation
    from litmus.inference.prediction import predict
    from litmus.inference.torchvision_models import load_torchvision

    perturb = Perturbation(args.perturb, args.seed or 0) if args.perturb else None
    trained = load(run, trust=args.trust) if run else load_torchvision(args.arch, args.weights or "DEFAULT")
    found = predict(trained, images, args.top, perturb, left_out=lambda line: print(line, file=sys.stderr))
    require(bool(found), f"there is no picture in {', '.join(images)}")
    print(as_json(found) if args.json else as_table(found))
    if perturb:
        out = args.out or Path("perturbed.png")
        side_by_side(found, args.perturb, out)
        print(out, file=sys.stderr)


def as_table(found: list[Prediction]) -> str:
    from litmus.data.listing import readable

    wide = max(len(readable(one.path)) for one in found)
    lines = []
    for one in found:
        columns = [answer for answer in (one.answer, one.answer_perturbed) if answer is not None]
        for i, row in enumerate(zip(*columns, strict=True)):
            cells = "   then  ".join(f"{100 * value:6.2f} %  {name:<20}" for name, value in row)
            lines.append(f"{readable(one.path) if i == 0 else '':<{wide}}  {cells}".rstrip())
    return "\n".join(lines)


def as_json(found: list[Prediction]) -> str:
    from litmus.data.listing import readable

    def as_dicts(answer: Answer) -> list[dict[str, str | float]]:
        return [{"class": name, "probability": round(value, 6)} for name, value in answer]

    listed: list[dict[str, Any]] = []
    for one in found:
        listed.append({"path": readable(one.path), "top": as_dicts(one.answer)})
        if one.answer_perturbed is not None:
            listed[-1]["perturbed"] = as_dicts(one.answer_perturbed)
    return json.dumps(listed, indent=2, ensure_ascii=False)


def side_by_side(found: list[Prediction], change: str, path: Path) -> None:
    import torch

    from litmus.callbacks.plots import image_grid, save, shorten_names

    images, captions = [], []
    for one in found:
        for image, answer in ((one.image, one.answer), (one.perturbed, one.answer_perturbed)):
            assert image is not None
            assert answer is not None
            images.append(image)
            names = shorten_names([name for name, _ in answer[:3]], 24)
            captions.append(
                "\n".join(f"{100 * p:.1f} %  {name}" for name, (_, p) in zip(names, answer[:3], strict=True))
            )
    save(image_grid(torch.stack(images), captions, f"as it is, and after {change}", columns=2, wide=3.0), path)


if __name__ == "__main__":
    main()
