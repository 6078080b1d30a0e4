"""The train/validation split."""

import torch
from torch import Tensor

from litmus.errors import require

VAL_SIZE = 0.1  # default fraction of the training images


def check_not_split(val_size: float, what: str) -> None:
    """Raises ConfigError if a part of the training images is requested of data that has a validation part."""
    require(
        val_size in (0, VAL_SIZE),
        f"data.val_size={val_size:g} splits a part off the training images, and {what} is the validation part; leave "
        "it out, or set data.val_size=0 to train on both",
    )


def validation_count(val_size: float, total: int) -> int:
    """The size of the validation part: `val_size` is a count, or a fraction of `total` if it is below 1.

    0 means no validation part. Raises ConfigError if a part would be empty.
    """
    count = round(val_size * total) if val_size < 1 else int(val_size)
    require(
        count < total,
        f"data.val_size={val_size:g} leaves no image to train on: there are {total:,}, so choose less",
    )
    require_validation(count, val_size, total)
    return count


def require_validation(count: int, val_size: float, total: int) -> None:
    require(
        count > 0 or val_size == 0,
        f"data.val_size={val_size:g} of {total:,} training images leaves no validation image; set data.val_size=1 or "
        "more, train on more images, or set data.val_size=0 to train without validation",
    )


def stratified_split(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices (training, validation), each ascending; validation has `size` images, and each class its share to within
    one.

    Fractional shares are rounded by the largest remainder.
    """
    return split_in_order(labels, size, torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)))


def split_in_order(labels: Tensor, size: int, order: Tensor) -> tuple[Tensor, Tensor]:
    """As `stratified_split`, but the validation part has the first images of each class in `order`."""
    counts = torch.bincount(labels)
    shares = counts.double() * size / len(labels)
    quota = shares.floor().long()
    short = size - int(quota.sum())
    quota[(shares - quota).argsort(descending=True, stable=True)[:short]] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, take in enumerate(quota.tolist()):
        chosen[order[labels[order] == label][:take]] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def split_off(labels: Tensor, size: int, order: Tensor) -> tuple[Tensor, Tensor]:
    """As `split_in_order`, but a class keeps at least one image to train on."""
    rest, chosen = split_in_order(labels, size, order)
    for label in set(labels[chosen].tolist()) - set(labels[rest].tolist()):
        kept = chosen[labels[chosen] == label][:1]
        rest, chosen = torch.cat([rest, kept]).sort().values, chosen[chosen != kept]
    return rest, chosen
