"""A trained model as a file for other programs:

    python scripts/export.py RUN --format onnx          with the preprocessing inside: uint8 images in, logits out
    python scripts/export.py RUN --format safetensors   the weights, a resnet's under torchvision's names

What the file computes is compared with the model before it is called done. The class names are in its metadata.
"""

import argparse
from pathlib import Path

from litmus import cli


@cli.script
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="its folder, or a checkpoint")
    parser.add_argument("--format", choices=("onnx", "safetensors"), required=True)
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which of the run's")
    parser.add_argument("--out", type=Path, help="the file; RUN/export/model.FORMAT if left out")
    cli.add_trust(parser)
    args = parser.parse_args()

    from litmus.inference.export import export_onnx, export_safetensors
    from litmus.inference.loading import load, output_folder

    trained = load(args.run, args.checkpoint, args.trust)
    above = Path(args.run).expanduser()
    out = args.out or output_folder(above, "export") / f"model.{args.format}"
    difference = (export_onnx if args.format == "onnx" else export_safetensors)(trained, out)
    shape = " × ".join(map(str, trained.decode.shape))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, for images of {shape}; logits differ by {difference:.1e} at most")


if __name__ == "__main__":
    main()
