import math
from types import SimpleNamespace

import pytest
import torch
from board import Board

from litmus.callbacks import WorstMistakes, worst_mistakes

MEAN, STD = 100.0, 2.0
DATA = SimpleNamespace(
    name="pets",
    class_names=["cat", "dog"],
    preprocess=SimpleNamespace(mean=torch.tensor(MEAN), std=torch.tensor(STD)),
)


@pytest.fixture
def drawn(monkeypatch):
    calls, grid = [], worst_mistakes.image_grid

    def spy(images, captions, *args, **options):
        calls.append((images, captions))
        return grid(images, captions, *args, **options)

    monkeypatch.setattr(worst_mistakes, "image_grid", spy)
    return calls


def after_test(callback, *batches):
    """Each batch is a list of (pixel of the image, the model's probability of a dog, the true class)."""
    trainer = SimpleNamespace(world_size=1, is_global_zero=True, loggers=[], datamodule=DATA)
    callback.on_test_start(trainer, None)
    for i, batch in enumerate(batches):
        pixel, p_dog, target = (torch.tensor(column) for column in zip(*batch, strict=True))
        logits = torch.stack([1 - p_dog, p_dog], dim=1).log()
        images = ((pixel.float() - MEAN) / STD).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
        callback.on_test_batch_end(trainer, None, logits, (images, target), i)
    callback.on_test_epoch_end(trainer, None)


CAT, DOG = 0, 1


def test_the_worst_come_first_whatever_batch_they_were_in(drawn, tmp_path):
    after_test(
        WorstMistakes(images=3, directory=str(tmp_path)),
        [(10, 0.9, CAT), (20, 0.9, DOG), (30, 0.6, CAT)],
        [(40, 0.1, CAT)],
        [(50, 0.001, DOG), (60, 0.7, CAT)],
    )
    ((images, captions),) = drawn
    assert images[:, 0, 0, 0].tolist() == [50, 10, 60]
    assert captions == [
        "is dog: p = 0.001\nsaid cat: p = 1",
        "is cat: p = 0.1\nsaid dog: p = 0.9",
        "is cat: p = 0.3\nsaid dog: p = 0.7",
    ]
    assert (tmp_path / "worst_mistakes.png").exists()


def test_what_is_right_is_no_mistake_however_unsure(drawn, tmp_path):
    after_test(WorstMistakes(images=3, directory=str(tmp_path)), [(10, 0.51, DOG), (20, 0.49, CAT)])
    assert not drawn
    assert not (tmp_path / "worst_mistakes.png").exists()


def test_probabilities_too_small_for_a_float_still_have_an_order(drawn, tmp_path):
    callback = WorstMistakes(images=2, directory=str(tmp_path))
    trainer = SimpleNamespace(world_size=1, is_global_zero=True, loggers=[], datamodule=DATA)
    callback.on_test_start(trainer, None)
    logits = torch.tensor([[200.0, 0.0], [900.0, 0.0], [500.0, 0.0]])
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    callback.on_test_batch_end(trainer, None, logits, (images, torch.tensor([DOG, DOG, DOG])), 0)
    callback.on_test_epoch_end(trainer, None)
    assert drawn[0][0][:, 0, 0, 0].tolist() == [MEAN + STD * i for i in (1, 2)]
    assert not any(math.isnan(value) for value in callback.worst[0].exp().flatten().tolist())


def test_a_run_shows_its_mistakes_in_tensorboard_and_in_its_directory(train_logged):
    run = train_logged("data.num_images=64", "optim.lr=1e-9", "trainer.max_epochs=1")
    assert run.result["metrics"]["test/acc"] < 1
    assert (run.path / "test" / "worst_mistakes.png").exists()
    assert len(Board(run.path).images("worst_mistakes")) == 1
