"""Predicts the classes of image files."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from litmus.data.image_decoder import ImageDecodeError
from litmus.data.listing import files_below, readable
from litmus.errors import ConfigError
from litmus.inference.loading import TrainedModel

AT_ONCE = 32  # pictures in a batch

Answer = list[tuple[str, float]]  # class names and their probabilities, the highest first


@dataclass
class Prediction:
    path: Path
    image: Tensor  # (C, H, W) uint8, as the network sees it before it is normalized
    answer: Answer
    perturbed: Tensor | None = None  # the image after a perturbation, and what the model says then
    answer_perturbed: Answer | None = None


def files_of(paths: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was given itself and not by its folder. Raises ConfigError for what does not exist."""
    for name in paths:
        path = Path(os.path.expanduser(name))
        if not os.path.exists(path):
            raise ConfigError(f"{name} does not exist: give a picture or a folder of them")
        yield from ((file, False) for file in files_below(path)) if path.is_dir() else [(path, True)]


def predict(
    trained: TrainedModel,
    paths: Sequence[str],
    top: int,
    perturb: Callable[[Tensor], Tensor] | None = None,
    left_out: Callable[[str], None] = print,
) -> list[Prediction]:
    """The `top` classes of every image.

    `left_out` is called for a file in a folder that is not an image; a single file that is not one raises ConfigError.
    """
    found: list[Prediction] = []
    for path, named in files_of(paths):
        try:
            found.append(Prediction(path, trained.decode(path), []))
        except ImageDecodeError as error:
            sentence = f"{readable(path)} is {error}"
            if named:
                raise ConfigError(f"{sentence}: give a picture") from None
            left_out(f"left out: {sentence}")
    for batch in (found[i : i + AT_ONCE] for i in range(0, len(found), AT_ONCE)):
        images = torch.stack([one.image for one in batch])
        for one, answer in zip(batch, answers(trained, images, top), strict=True):
            one.answer = answer
        if perturb is not None:
            changed = torch.stack([perturb(image) for image in images.float()])
            for one, image, answer in zip(batch, changed, answers(trained, changed, top), strict=True):
                one.perturbed, one.answer_perturbed = image.round().clamp(0, 255).to(torch.uint8), answer
    return found


def answers(trained: TrainedModel, images: Tensor, top: int) -> list[Answer]:
    with torch.inference_mode():
        probabilities = trained(images).float().softmax(dim=1)
    best = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
    return [
        [(trained.class_names[label], value) for label, value in zip(labels, values, strict=True)]
        for labels, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
