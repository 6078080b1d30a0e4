import torch
from board import Board

from litmus.callbacks import sample_images
from litmus.callbacks.plots import image_grid
from litmus.models import MLP


def test_the_picture_shows_the_first_batch_as_the_network_gets_it(train_logged, monkeypatch):
    drawn, trained_on, step = [], [], MLP.training_step

    def training_step(self, batch, batch_idx):
        trained_on.append((self.trainer.datamodule, *batch))
        return step(self, batch, batch_idx)

    def spy(images, captions, *args, **options):
        drawn.append((images, captions))
        return image_grid(images, captions, *args, **options)

    monkeypatch.setattr(MLP, "training_step", training_step)
    monkeypatch.setattr(sample_images, "image_grid", spy)
    run = train_logged("data.num_images=64", "data.augment.shift=4", "callbacks.sample_images.images=5", "test=false")

    ((images, captions),) = drawn
    data, batch, target = trained_on[0]
    pixels = (batch * data.preprocess.std + data.preprocess.mean)[:5]
    assert images.dtype == torch.uint8
    assert torch.equal(images, pixels.round().to(torch.uint8))
    assert not any((image == original).all() for image in images for original in data.parts["train"][0])  # shifted
    assert captions == [f"class {label}" for label in target[:5].tolist()]
    assert list(Board(run.path).images("sample_images")) == [0]


def test_a_resumed_run_does_not_show_them_again(train, train_logged):
    train_logged("data.num_images=64", "trainer.max_epochs=1", "scheduler=constant", "output_dir=run")
    run = train("resume=run", "trainer.max_epochs=2", small=False)
    assert list(Board(run.path).images("sample_images")) == [0]
