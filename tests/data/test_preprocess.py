import pytest
import torch
import torchvision.transforms.v2 as v2
from conftest import composed

import litmus
from litmus.data.batches import Batches
from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError
from litmus.runs import build


@pytest.fixture
def images():
    return torch.randint(0, 256, (50, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_raw_leaves_0_to_255(images):
    assert torch.equal(Preprocess.fit("raw", images)(images), images.float())


def test_unit_gives_0_to_1(images):
    assert torch.equal(Preprocess.fit("unit", images)(images), images.float() / 255)


def test_standardize_gives_each_channel_mean_0_and_variance_1(images):
    out = Preprocess.fit("standardize", images)(images).double()
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(dim=(0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("low", [0, 250])
def test_standardize_computes_exact_moments(low):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(low, 256, (5, 2, 333, 401), dtype=torch.uint8, generator=generator)
    fitted = Preprocess.fit("standardize", images)
    for c in range(2):
        pixels = images[:, c].long()
        mean, mean_square = pixels.sum().double() / pixels.numel(), pixels.square().sum().double() / pixels.numel()
        assert fitted.mean[c] == mean.float()
        assert fitted.std[c] == (mean_square - mean.square()).sqrt().float()


@pytest.mark.parametrize("value", [0, 7])
def test_a_channel_without_contrast_stays_finite(value):
    images = torch.full((4, 1, 2, 2), value, dtype=torch.uint8)
    assert torch.equal(Preprocess.fit("standardize", images)(images), torch.zeros(4, 1, 2, 2))


def test_standardize_gives_the_same_for_images_of_any_brightness():
    dim = torch.zeros(50, 2, 4, 5, dtype=torch.uint8)
    dim[::7, 0, 1] = 1
    dim[0, 0, 0, 0] = 3
    bright = dim * 85
    expected = Preprocess.fit("standardize", bright)(bright)
    torch.testing.assert_close(Preprocess.fit("standardize", dim)(dim), expected)
    assert expected[:, 0].double().var(correction=0) == pytest.approx(1)


def test_a_channel_of_almost_no_contrast_is_not_amplified():
    images = torch.randint(0, 256, (50, 2, 4, 5), dtype=torch.uint8)
    images[:, 1] = 255
    images[0, 1, 0, 0] = 254
    assert Preprocess.fit("standardize", images).std[1] == 1


def test_an_unknown_scaling_is_refused(images):
    with pytest.raises(ConfigError, match="did you mean standardize"):
        Preprocess.fit("standardise", images)


def pictures(channels=3, size=32, count=20):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def data(*overrides):
    built = build(composed("data=synthetic", "data.num_images=40", *overrides).data)
    built.setup()
    return built


def test_imagenet_is_what_torchvision_does_for_its_pretrained_networks():
    theirs = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )
    ours = Preprocess.fit("imagenet", pictures())
    torch.testing.assert_close(ours(pictures()), theirs(pictures()))


def test_imagenet_makes_three_channels_of_a_gray_image():
    gray = pictures(channels=1)
    color = gray.expand(-1, 3, -1, -1)
    assert torch.equal(Preprocess.fit("imagenet", gray)(gray), Preprocess.fit("imagenet", color)(color))
    assert data("data.scaling=imagenet").image_shape == (3, 28, 28)


def test_imagenet_refuses_other_images():
    with pytest.raises(ConfigError, match="for gray or color images, and these have 4 channels"):
        data("data.scaling=imagenet", "data.image_shape=[4,8,8]")


@pytest.mark.parametrize(("size", "wanted"), [(28, 40), (32, 13)])
def test_resizing_is_torchvisions_bilinear_with_antialiasing(size, wanted):
    resized = Preprocess(torch.zeros(3), torch.ones(3), wanted)(pictures(size=size))
    theirs = v2.functional.resize(pictures(size=size).float(), [wanted, wanted], antialias=True)
    assert torch.equal(resized, theirs)


def test_images_of_the_size_asked_for_stay_as_they_are():
    assert torch.equal(Preprocess(torch.zeros(3), torch.ones(3), 32)(pictures()), pictures().float())


def test_the_network_sees_resized_images_in_training_and_measuring():
    resized = data("data.image_size=40")
    assert resized.image_shape == (1, 40, 40)
    for loader in (resized.train_dataloader(), resized.val_dataloader(), resized.batches("train", first=3)):
        images, _ = next(iter(loader))
        assert images.shape[1:] == (1, 40, 40)


def test_images_are_augmented_before_they_are_resized():
    moved = data("data.image_size=56", "data.augment.shift=20", "data.scaling=raw")
    small = Batches(*moved.parts["train"], moved.batch_size, torch.Tensor.float, moved.seed, moved.augment)
    expected = v2.functional.resize(next(iter(small))[0], [56, 56], antialias=True)
    assert torch.equal(next(iter(moved.train_dataloader()))[0], expected)


@pytest.mark.parametrize(("size", "batch"), [("null", 2000), ("224", 31), ("5000", 1)])
def test_larger_images_are_measured_in_smaller_batches(size, batch):
    cfg = composed("data=synthetic", f"data.image_size={size}").data
    assert build(cfg).eval_batch_size == batch
    assert build(cfg, eval_batch_size=7).eval_batch_size == 7


def test_image_size_must_be_a_whole_number():
    with pytest.raises(ConfigError, match=r"data.image_size is 0, and must be a whole number of 1 or more"):
        data("data.image_size=0")


def test_a_loaded_run_takes_raw_images_of_any_size(train):
    path = train("data.image_size=40", "data.scaling=imagenet", "trainer.max_epochs=1", "logger=none").path
    trained = litmus.load(path)
    raw = pictures(channels=1, size=28)
    resized = v2.functional.resize(raw.float(), [40, 40], antialias=True)
    with torch.no_grad():
        expected = trained.model(Preprocess.fit("imagenet", raw)(resized))
        assert torch.equal(trained(raw), expected)
        assert trained(pictures(channels=1, size=100)).shape == (20, 10)
