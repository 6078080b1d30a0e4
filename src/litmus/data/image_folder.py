"""The data module of an image folder with a subfolder per class."""

import math
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from litmus.core.counts import format_count
from litmus.core.digests import combine_digests
from litmus.data.batch_decoding import (
    Bad,
    DecodedBatches,
    available_cores,
    cached_results,
    check_all,
    decode_all,
    describe_bad_files,
)
from litmus.data.duplicates import (
    DUPLICATES,
    answer_duplicates,
    equal_files,
    find_repeats,
    indices_to_keep,
    two_classes,
)
from litmus.data.fingerprint import file_digests
from litmus.data.image_decoder import PIPELINES, ImageDecoder
from litmus.data.in_memory import InMemory, Part
from litmus.data.labels import class_name
from litmus.data.listing import (
    Listing,
    check_classes,
    class_folders,
    count_loose_pictures,
    drop_repeated_files,
    list_images,
    name_order,
    part_folders,
    readable,
    require_classes,
)
from litmus.data.preprocess import Preprocess
from litmus.data.split import check_not_split, require_validation, split_off, validation_count
from litmus.errors import number, one_of, require, user_path, whole_number

SCALING_OF = {"resize": "unit", "imagenet": "imagenet"}
TEST_SHARE = 0.1  # default fraction of all images
TEST_SEED = 0  # fixed, so that the test part does not depend on `seed`


class ImageFolder(InMemory):
    """The images below `root`: in train/, val/ and test/, in train/ and one of them, or all in one; each with a
    subfolder per class.

    A missing part is split off the training images, by a hash of their names, so that a new image moves few others
    from one part to another. Images are decoded once and kept, or, above `memory_gb`, decoded
    again for each batch by `workers`.
    """

    def __init__(
        self,
        root: str,
        pipeline: str = "imagenet",
        image_size: int = 224,
        scaling: str | None = None,
        channels: int = 3,
        classes: Sequence[str] | None = None,
        test_share: float = TEST_SHARE,
        bad_files: str = "error",
        memory_gb: float = 4.0,
        workers: int | None = None,
        duplicates: str = "warn",
        **options: Any,
    ):
        one_of("data.pipeline", pipeline, PIPELINES)
        side = whole_number("data.image_size", image_size, least=1)
        require(channels in (1, 3), f"data.channels is {channels!r}, and must be 3, for color, or 1, for gray")
        self.root = user_path("data.root", root)
        self.decode = ImageDecoder((channels, side, side), pipeline)
        self.duplicates = one_of("data.duplicates", duplicates, DUPLICATES)
        self.bad_files = one_of("data.bad_files", bad_files, ("error", "skip"))
        self.test_share = number("data.test_share", test_share, least=0, below=1)
        self.memory_gb = number("data.memory_gb", memory_gb, least=0)
        self.workers = available_cores() if workers is None else whole_number("data.workers", workers, least=0)
        self.folders = self._part_folders()
        names = self._class_names(classes)
        super().__init__(
            readable(self.root.resolve().name),
            source=None,  # type: ignore[arg-type]
            num_classes=len(names),
            image_shape=list(self.decode.shape),
            scaling=scaling or SCALING_OF[pipeline],
            **options,
        )
        self.class_names, self.pipeline = names, pipeline
        self.listings = self._split(every_class=classes is None)

    def _part_folders(self) -> dict[str, Path]:
        return part_folders(self.root)

    def _class_names(self, wanted: Sequence[str] | None) -> list[str]:
        folder = self.folders["train"]
        there = class_folders(folder)
        require(bool(there), f"{folder} has no subfolders: put the pictures of each class into one of its own")
        require(
            wanted is None or (isinstance(wanted, Sequence) and not isinstance(wanted, str) and len(wanted) > 0),
            f"data.classes is {wanted!r}, and must be a list of class folders; set null for all",
        )
        names = list(there) if wanted is None else [unicodedata.normalize("NFC", class_name(name)) for name in wanted]
        for name in names:
            require(names.count(name) == 1, f"data.classes names {name!r} twice; name each class once")
            require(name in there, f"data.classes names {name!r}, and {folder} has {', '.join(there)}")
        counts = torch.bincount(list_images(folder, names).labels, minlength=len(names)).tolist()
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        if empty:
            found = f"class folders without a picture: {', '.join(empty)}"
            require(self.bad_files == "skip", f"{found}; fill or remove them, or set data.bad_files=skip")
            self.notes.append(f"left out {found}")
        names = [name for name in names if name not in empty]
        if loose := count_loose_pictures(folder):
            self.notes.append(
                f"left out {format_count(loose, 'picture')} in {readable(folder)} itself, outside the class folders"
            )
        require(
            len(names) > 1,
            f"{folder} has pictures of {format_count(len(names), 'class', 'classes')}, and must have them of "
            "two or more",
        )
        return names

    def _split(self, every_class: bool) -> dict[str, Listing]:
        """The files of each part. A class keeps at least one training image."""
        if every_class:
            for folder in self.folders.values():
                check_classes(folder, self.class_names)
        for folder in self.folders.values():
            require_classes(folder, self.class_names, self.folders["train"])
        self._check_not_split()
        every = {part: list_images(folder, self.class_names) for part, folder in self.folders.items()}
        parts = drop_repeated_files(every, self.notes)
        for part, folder in self.folders.items():
            require(len(parts[part]) > 0, f"{readable(folder)} has no picture of its own: add some, or remove it")
        if "test" not in parts:
            labels = parts["train"].labels
            order = name_order(parts["train"].files, self.root, TEST_SEED)
            rest, chosen = split_off(labels, round(self.test_share * len(labels)), order)
            require(
                len(chosen) > 0 or self.test_share == 0,
                f"data.test_share={self.test_share:g} of {len(labels):,} pictures leaves none to test: raise it, or "
                "set data.test_share=0 for no test",
            )
            parts["test"], parts["train"] = parts["train"][chosen], parts["train"][rest]
            if len(chosen) and "val" in parts:
                self.notes.append(
                    f"{readable(self.root)} has no test/, so the test takes {format_count(len(chosen), 'image')} of "
                    "train/; add test/, or set data.test_share=0"
                )
        for part, size in (("train", self.train_size), ("test", self.test_size)):
            count = len(parts[part])
            require(size is None or size <= count, f"data.{part}_size={size} is more than the {count:,} pictures there")
            parts[part] = parts[part][:size]
        if self.val_size == 0:
            parts["train"] += parts.pop("val", parts["train"][:0])
        if "val" not in parts:
            labels = parts["train"].labels
            order = name_order(parts["train"].files, self.root, self.seed)
            rest, chosen = split_off(labels, validation_count(self.val_size, len(labels)), order)
            require_validation(len(chosen), self.val_size, len(labels))
            parts["val"], parts["train"] = parts["train"][chosen], parts["train"][rest]
        return parts

    def _check_not_split(self) -> None:
        """Raises ConfigError if an option requests a split and the part has a folder."""
        if "val" in self.folders:
            check_not_split(self.val_size, readable(self.folders["val"]))
        require(
            "test" not in self.folders or self.test_share == TEST_SHARE,
            f"data.test_share={self.test_share:g} splits a part off the training images, and "
            f"{readable(self.folders.get('test', ''))} is the test part; leave it out",
        )

    def fingerprint(self) -> str:
        """A digest of the relative names and contents of all files.

        For folders above `memory_gb`, it is cached in `data_dir` until the size or modification time of a file changes.
        """
        files = [file for listing in self.listings.values() for file in listing.files]
        fits = self._fits_in_memory()
        found = file_digests(files) if fits else cached_results("digests", files, Path(self.data_dir), file_digests)
        return combine_digests({str(file.relative_to(self.root)): digest for file, digest in found.items()})

    def sources(self) -> list[Path]:
        return [self.root]

    def setup(self, stage: str | None = None) -> None:
        """Decodes or checks every file once; with the stage `test`, only the test files."""
        wanted = ("test",) if stage == "test" else ("train", "val", "test")
        if all(part in self.parts for part in wanted):
            return
        in_memory = self._fits_in_memory()
        if not in_memory:
            self.loader = partial(DecodedBatches, decode=self.decode, workers=self.workers)
        bad: Bad = {}
        parts: dict[str, Any] = {}
        for part in wanted:
            files, labels = self.listings[part].files, self.listings[part].labels
            images: Any = files
            if in_memory:
                images, found = decode_all(files, self.decode)
            else:
                found = check_all(files, self.decode, Path(self.data_dir))
            if found:
                good = torch.tensor([file not in found for file in files]).nonzero().flatten()
                images = images[good] if in_memory else [files[i] for i in good.tolist()]
                labels = labels[good]
            bad |= found
            parts[part] = images, labels
        self._answer(bad, sum(len(self.listings[part]) for part in wanted))
        if "train" in wanted:
            parts = self._without_duplicates(parts, bad, in_memory)
        self.parts |= parts
        if "train" in wanted:
            self._prepare(in_memory)

    def _fits_in_memory(self) -> bool:
        return sum(map(len, self.listings.values())) * math.prod(self.decode.shape) <= self.memory_gb * 1e9

    def _answer(self, bad: Bad, total: int) -> None:
        if bad:
            sentence = describe_bad_files(bad, total, self.root)
            require(self.bad_files == "skip", f"{sentence}; remove them, or set data.bad_files=skip")
            self.notes.append(f"left out: {sentence}")

    def _without_duplicates(self, parts: dict[str, Any], bad: Bad, in_memory: bool) -> dict[str, Any]:
        files = {part: [file for file in self.listings[part].files if file not in bad] for part in parts}
        every = sorted(file for some in files.values() for file in some)
        first = equal_files(every) if in_memory else cached_results("equal", every, Path(self.data_dir), equal_files)
        contents = {part: [first.get(file) for file in some] for part, some in files.items()}
        repeats = find_repeats(contents)

        def name(part: str, i: int) -> str:
            return readable(files[part][i].relative_to(self.root))

        self.notes += answer_duplicates(repeats, self.duplicates, name)
        labels = {part: labels for part, (_, labels) in parts.items()}
        self.notes += two_classes(contents, labels, self.class_names, name)
        if self.duplicates != "drop":
            return parts
        left: dict[str, Any] = {}
        for part, (images, labels) in parts.items():
            index = indices_to_keep(len(labels), part, repeats)
            require(len(index) > 0 or not len(labels), f"every picture of the {part} part is in a later part: add some")
            left[part] = images[index] if in_memory else [images[i] for i in index.tolist()], labels[index]
        return left

    def _prepare(self, in_memory: bool) -> None:
        images, labels = self.parts["train"]
        counts = torch.bincount(labels, minlength=self.num_classes).tolist()
        for name, count in zip(self.class_names, counts, strict=True):
            require(count > 0, f"no file of the class {name} is a good picture to train on: remove its folder")
        for part in ("val", "test"):
            good, files = len(self.parts[part][1]), len(self.listings[part])
            require(
                good > 0 or files == 0,
                f"the {part} part has no good picture among {format_count(files, 'file')}: add some",
            )
        measured = self.scaling == "standardize"
        require(
            in_memory or not measured,
            "data.scaling=standardize measures all training images, and these are more than data.memory_gb="
            f"{self.memory_gb:g} holds: raise it, or set data.scaling={SCALING_OF[self.pipeline]}",
        )
        self.preprocess = Preprocess.fit(self.scaling, images if in_memory else torch.zeros(1, *self.source_shape))

    def _on_device(self, part: str) -> Part:
        images, labels = self.parts[part]
        if isinstance(images, torch.Tensor):
            return super()._on_device(part)
        labels = labels.to(self._device())
        self.preprocess.to(labels.device)
        self.parts[part] = images, labels
        return self.parts[part]
