import numpy as np
from board import Board
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.plugins.hparams import metadata

from litmus.core.tensorboard import write_image


def columns(run):
    content = Board(run.path).events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def test_hparams_are_the_options_chosen_and_the_values_below_them(train_logged):
    run = train_logged("penalty=l2", "penalty.weight=0.01", "data.num_images=64", "test=false", "seed=3")
    found = columns(run)
    assert found["penalty"] == "l2"
    assert found["penalty.weight"] == 0.01
    assert found["model.hidden"] == "[100, 100]"
    assert found["seed"] == 3
    assert "data.seed" not in found


def test_no_run_lists_the_columns_for_all(train_logged):
    # If one did, TensorBoard would show that run's and no other's.
    run = train_logged("data.num_images=64", "test=false")
    tags = Board(run.path).events.PluginTagToContent(metadata.PLUGIN_NAME)
    assert metadata.EXPERIMENT_TAG not in tags
    assert metadata.SESSION_START_INFO_TAG in tags


def test_hparams_have_the_best_epochs_figures(train_logged):
    run = train_logged("data.num_images=64")
    for name in ("test/acc", "val/acc", "train/acc", "test/loss", "val/loss"):
        (value,) = Board(run.path).scalars(f"best/{name.replace('/', '_')}").values()
        assert abs(value - run.result["metrics"][name]) < 1e-6


def test_an_image_is_written_without_loss(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    write_image(logger, "noise", image, step=5)
    logger.finalize("success")
    ((step, found),) = Board(tmp_path).images("noise").items()
    assert step == 5
    assert np.array_equal(found, image)
