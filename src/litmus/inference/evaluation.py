"""Evaluates a trained model on its run's test set, or on other data of the same classes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import Tensor

from litmus.callbacks import Calibration, ConfusionMatrix, WorstMistakes
from litmus.core.checkpoint_io import read_json
from litmus.core.saved_config import check_nothing_evaluated
from litmus.data.array_file import ArrayFile
from litmus.data.image_folder import ImageFolder
from litmus.data.in_memory import InMemory
from litmus.data.listing import Listing, check_classes, drop_repeated_files, find_part_folders, list_images
from litmus.errors import first_few, require, user_path
from litmus.inference.class_metrics import class_scores, mean_of
from litmus.inference.loading import TrainedModel
from litmus.runs.building import build
from litmus.runs.trusted_targets import DATA, TargetCheck
from litmus.training.trainer import quiet

log = logging.getLogger("litmus")

BINS = 15  # of the reliability diagram, as in Guo et al. 2017
MISTAKES = 24


class FolderToTest(ImageFolder):
    """All images of a folder, or of its test/, as test images; a subfolder per class, which may be absent. Bad files
    are named and skipped.
    """

    def __init__(self, root: str, trained: TrainedModel):
        config = stored_data(trained)
        kept = {name: config[name] for name in ("batch_size", "eval_batch_size", "data_dir", "seed") if name in config}
        super().__init__(
            root,
            trained.decode.pipeline,
            image_size=trained.decode.shape[1],
            scaling="raw",
            channels=trained.decode.shape[0],
            classes=trained.class_names,
            test_share=0.0,
            bad_files="skip",
            train_size=None,
            val_size=0,
            test_size=None,
            **kept,
        )
        self.decode = trained.decode

    def _part_folders(self) -> dict[str, Path]:
        return {"test": find_part_folders(self.root).get("test", self.root)}

    def _class_names(self, wanted: Any) -> list[str]:
        return list(wanted)

    def _split(self, every_class: bool) -> dict[str, Listing]:
        folder = self.folders["test"]
        check_classes(folder, self.class_names)
        found = drop_repeated_files({"test": list_images(folder, self.class_names)}, self.notes)["test"]
        require(len(found) > 0, f"{folder} has no pictures in subfolders named {', '.join(self.class_names[:5])} …")
        return {"train": found[:0], "val": found[:0], "test": found}


class ArraysToTest(ArrayFile):
    """The x_test and y_test of an array file, which may lack the other parts."""

    required_part = "test"

    def __init__(self, path: str, trained: TrainedModel):
        super().__init__(path, stored_data(trained).get("layout"), scaling="raw")


def stored_data(trained: TrainedModel) -> dict[str, Any]:
    """The data group of the stored config; empty if there is none."""
    data = trained.config.get("data")
    return data if isinstance(data, dict) else {}


def own_data(
    trained: TrainedModel, file: Path, data_dir: str | None = None, trust: str | Sequence[str] = ()
) -> InMemory:
    """The test images of the run's own data; `data_dir` is where downloads are now.

    What its config names is built as `litmus.load` builds the network. `file` is the run, for errors.
    """
    config = stored_data(trained)
    require("_target_" in config, f"{file} is damaged (its config has no data); use another file")
    require(
        config.get("num_classes") in (None, len(trained.class_names)),
        f"{file} is damaged (its data has {config.get('num_classes')} classes, and the model has "
        f"{len(trained.class_names)}); use another file",
    )
    check_nothing_evaluated(config, file)
    TargetCheck(DATA, file, trust).check(config)
    require(
        "data_dir" in config,
        f"the data module of this run, {config.get('_target_')}, is not one of litmus.data, and its test was part of "
        "the run; give other data with --data",
    )
    given = {"data_dir": data_dir or config["data_dir"], **({"workers": None} if "workers" in config else {})}
    return prepare_test_data(build(OmegaConf.create({**config, **given})), trained)


def other_data(trained: TrainedModel, config: Any) -> InMemory:
    """The test images of another data set, given by its config, or of a folder or an array file, given by its path."""
    if isinstance(config, str):
        path = user_path("--data", config)
        is_folder = path.is_dir() and not any(path.glob("x_*.npy"))
        return prepare_test_data((FolderToTest if is_folder else ArraysToTest)(config, trained), trained)
    return prepare_test_data(build(config), trained)


def prepare_test_data(data: InMemory, trained: TrainedModel) -> InMemory:
    """Reads the test images and sets the preprocessing of the model. Raises ConfigError if they do not fit."""
    data.setup("test")
    for note in data.notes:
        log.info(note)
    require(data.size("test") > 0, f"{data.name} has no test images: give other data with --data")
    images = data.parts["test"][0]
    shape = tuple(images.shape[1:]) if isinstance(images, Tensor) else data.source_shape
    wanted = trained.decode.shape
    require(
        shape == wanted or (trained.preprocess.size is not None and shape[0] == wanted[0]),
        f"the test images of {data.name} have shape {list(shape)}, and the model was made for {list(wanted)}",
    )
    names = trained.class_names
    is_known = data.use_classes(names) if isinstance(data, ArrayFile) else data.class_names == names
    hint = ", or add class_names, one for each label, to the arrays" if isinstance(data, ArrayFile) else ""
    require(
        is_known,
        f"the classes of {data.name} ({first_few(data.class_names, most=4)}) are not those that the model was "
        f"trained on ({first_few(names, most=4)}): choose data of the same classes{hint}",
    )
    data.preprocess = trained.preprocess
    return data


@dataclass
class EvaluationResult:
    figures: dict[str, Any]  # what evaluation.json holds
    counts: Tensor  # (true class, predicted class)


def warn_if_unlike_run(run: Path, figures: Mapping[str, Any]) -> None:
    """Logs a warning if the accuracy differs from that of the run's own test on the same images.

    One image in a thousand may differ, because devices and numbers of threads round differently.
    """
    file, images = run / "result.json", figures["images"]
    metrics = read_json(file, "metrics")["metrics"] if file.exists() else {}
    before = metrics.get("test/acc") if isinstance(metrics, dict) else None
    if isinstance(before, float) and abs(before - figures["accuracy"]) * images > max(1.5, images / 1000):
        log.warning(
            f"{run} measured a test accuracy of {100 * before:.2f} % and this is {100 * figures['accuracy']:.2f} %: "
            "the test images or the model's code have changed since; run it again in another output_dir"
        )


def evaluate(trained: TrainedModel, data: InMemory, directory: Path) -> EvaluationResult:
    """Tests the model, and writes confusion_matrix.png and .csv, calibration.png and worst_mistakes.png."""
    matrix = ConfusionMatrix(str(directory))
    calibration = Calibration(BINS, str(directory))
    (directory / "worst_mistakes.png").unlink(missing_ok=True)  # it is not written without a mistake
    quiet()
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        callbacks=[matrix, calibration, WorstMistakes(MISTAKES, str(directory))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    (measured,) = trainer.test(trained.model, datamodule=data, verbose=False)  # type: ignore[arg-type]
    counts = matrix.counts.view(data.num_classes, -1).cpu()
    scores = class_scores(counts, data.class_names)
    figures = {
        "data": data.name,
        "images": int(counts.sum()),
        "accuracy": measured["test/acc"],
        "loss": measured["test/loss"],
        "expected_calibration_error": calibration.error,
        "macro": {name: mean_of(scores, name) for name in ("precision", "recall", "f1")},
        "classes": [one.as_dict() for one in scores],
        "torch": torch.__version__,
    }
    return EvaluationResult(figures, counts)
