import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf

from litmus.data.augment import POINTS, Augmentation, elastic_field, erase, move, warp
from litmus.data.batches import Batches
from litmus.errors import ConfigError

STILL = torch.zeros(1, 2, dtype=torch.long)
SPARED = torch.tensor([False])
NINE = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)


def images(count=200, channels=3, height=12, width=10):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def augmented(pictures, seed=0, epoch=0, **options):
    augment = Augmentation(**options)
    return augment(pictures, augment.draw(len(pictures), seed, epoch))


def test_a_shift_moves_pixels_and_leaves_black():
    moved = move(NINE, STILL, torch.tensor([[1, -1]]), SPARED)
    assert moved.squeeze().tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]


def test_a_crop_moves_pixels_and_mirrors_the_edge():
    moved = move(NINE, torch.tensor([[1, -2]]), STILL, SPARED)
    assert moved.squeeze().tolist() == [[6, 5, 4], [3, 2, 1], [6, 5, 4]]


def test_a_crop_then_a_shift_then_a_flip():
    moved = move(NINE, torch.tensor([[0, 1]]), torch.tensor([[2, 1]]), torch.tensor([True]))
    # 1 2 3 is 2 1 2 after the crop, 0 2 1 after the shift, 1 2 0 after the flip.
    assert moved.squeeze().tolist() == [[0, 0, 0], [0, 0, 0], [1, 2, 0]]


def test_every_image_and_channel_moves_as_padding_and_cutting_would():
    pictures, generator = images(), torch.Generator().manual_seed(1)
    crop, shift = (torch.randint(-4, 5, (200, 2), generator=generator) for _ in range(2))
    flipped = torch.rand(200, generator=generator) < 0.5
    moved = move(pictures, crop, shift, flipped)
    for i in range(200):
        expected = pictures[i]
        for (down, right), mode in ((crop[i].tolist(), "reflect"), (shift[i].tolist(), "constant")):
            padded = tvf.pad(expected, [4, 4, 4, 4], padding_mode=mode)
            expected = padded[:, 4 - down : 16 - down, 4 - right : 14 - right]
        assert torch.equal(moved[i], expected.flip(2) if flipped[i] else expected)


def test_rotation_by_nothing_changes_nothing():
    pictures = images()
    torch.testing.assert_close(warp(pictures, torch.zeros(200)), pictures.float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_rotation_by_quarters_is_rot90(quarters):
    pictures = images(height=28, width=28)
    turned = warp(pictures, torch.full((200,), 90.0 * quarters))
    torch.testing.assert_close(turned, pictures.rot90(quarters, (2, 3)).float(), rtol=0, atol=0.01)


def test_rotation_of_an_oblong_image_by_a_half_turn_and_by_any_angle():
    pictures = images(count=20)
    torch.testing.assert_close(warp(pictures, torch.full((20,), 180.0)), pictures.flip(2, 3).float(), rtol=0, atol=0.01)
    degrees = torch.linspace(-170, 170, 20)
    for turned, picture, angle in zip(warp(pictures, degrees), pictures.float(), degrees, strict=True):
        expected = tvf.rotate(picture, float(angle), tvf.InterpolationMode.BILINEAR)
        torch.testing.assert_close(turned, expected, rtol=0, atol=0.05)


def test_an_image_is_turned_and_enlarged_about_its_middle():
    pictures, degrees = images(count=20), torch.linspace(-170, 170, 20)
    factors = torch.linspace(0.5, 2, 20)
    for changed, picture, angle, factor in zip(
        warp(pictures, degrees, factors), pictures.float(), degrees, factors, strict=True
    ):
        options = {"translate": [0, 0], "shear": [0.0], "interpolation": tvf.InterpolationMode.BILINEAR}
        expected = tvf.affine(picture, angle=-float(angle), scale=float(factor), **options)
        torch.testing.assert_close(changed, expected, rtol=0, atol=0.05)


def test_points_that_are_all_pulled_alike_move_the_image():
    pictures = images()
    displacements = torch.tensor([2.0, -1.0]).repeat_interleave(POINTS**2).expand(200, -1)  # of what comes from there
    moved = move(pictures, STILL.expand(200, 2), torch.tensor([[1, -2]]).expand(200, 2), SPARED.expand(200))
    torch.testing.assert_close(warp(pictures, torch.zeros(200), None, displacements), moved.float(), rtol=0, atol=0.01)


def test_elastic_displacements_are_bicubic_between_control_points():
    displacements = torch.randn(5, 2, POINTS, POINTS, generator=torch.Generator().manual_seed(0))
    found = elastic_field(displacements, 28, 31)
    expected = F.interpolate(displacements, (28, 31), mode="bicubic", align_corners=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        found[..., [0, 0, -1, -1], [0, -1, 0, -1]], displacements[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    )


def test_erasing_blackens_the_rectangle_and_nothing_else():
    pictures = images(count=2)
    top, left, tall, wide = (torch.tensor(v) for v in ([3, 0], [2, 0], [4, 0], [5, 7]))
    erased = erase(pictures, top, left, tall, wide)
    expected = pictures.clone()
    expected[0, :, 3:7, 2:7] = 0
    assert torch.equal(erased, expected)


def test_nothing_asked_for_changes_nothing():
    assert not Augmentation()
    assert torch.equal(augmented(images()), images())


def test_what_is_drawn_covers_its_range_evenly():
    position = torch.zeros(7000, 1, 15, 15, dtype=torch.uint8)
    position[:, :, 7, 7] = 1
    moved = augmented(position, shift=3).flatten(1).argmax(dim=1)
    for steps in (moved // 15 - 7, moved % 15 - 7):
        counts = torch.bincount(steps + 3, minlength=7)
        assert len(counts) == 7
        assert counts.min() > 900  # of 1,000
    flipped = (augmented(images(1000), flip=True) != images(1000)).flatten(1).any(dim=1)
    assert 440 < flipped.sum() < 560


def test_erasing_takes_its_chance_and_2_to_33_per_cent_of_the_area():
    pictures = torch.ones(2000, 1, 28, 28, dtype=torch.uint8)
    gone = (augmented(pictures, erasing=0.5) == 0).flatten(1).sum(dim=1) / 784
    hit = gone[gone > 0]
    assert 920 < len(hit) < 1080
    assert 0.015 < hit.min() < 0.04
    assert 0.29 < hit.max() < 0.36
    rows, columns = ((augmented(pictures, erasing=1.0) == 0).any(dim=d).squeeze(1) for d in (3, 2))
    assert rows.any(dim=0).all()
    assert columns.any(dim=0).all()


def test_rotation_stays_within_its_degrees():
    picture = torch.zeros(500, 1, 29, 29, dtype=torch.uint8)
    picture[:, :, 14, 26] = 255  # 12 pixels right of the middle
    rows = augmented(picture, rotation=30).sum(dim=3).squeeze(1).argmax(dim=1) - 14
    assert rows.min() == -6  # 12 · sin 30°
    assert rows.max() == 6


def test_scale_and_elastic_stay_within_what_was_asked_for():
    square = torch.zeros(500, 1, 41, 41, dtype=torch.uint8)
    square[:, :, 10:31, 10:31] = 255  # 21 pixels wide
    wide = augmented(square, scale=0.25)[:, 0, 20].sum(dim=1) / 255
    assert 21 * 0.75 - 0.1 < wide.min() < 21 * 0.78
    assert 21 * 1.22 < wide.max() < 21 * 1.25 + 0.1
    corners = torch.rand(500, 2 * POINTS**2) * 2 - 1
    assert (
        elastic_field(3 * corners.view(500, 2, POINTS, POINTS), 41, 41).abs().max() < 3 * 1.6
    )  # bicubic curves overshoot
    middle = torch.zeros(500, 1, 41, 41, dtype=torch.uint8)
    middle[:, :, 20, 20] = 255
    where = augmented(middle, elastic=3.0).flatten(1).argmax(dim=1)
    for moved in (where // 41 - 20, where % 41 - 20):
        assert -5 < moved.min() <= -2 < 2 <= moved.max() < 5


def test_scale_and_elastic_are_drawn_beside_the_rest():
    drawn = Augmentation(shift=2, erasing=0.5).draw(50, 3, 1)
    both = Augmentation(shift=2, erasing=0.5, scale=0.1, elastic=1.0).draw(50, 3, 1)
    assert torch.equal(both[:, : drawn.shape[1]], drawn)
    assert torch.equal(Augmentation(scale=0.1).draw(50, 3, 1), both)
    assert len(both.unique()) > 0.99 * both.numel()


def test_switching_a_change_on_leaves_the_others_as_they_were():
    pictures = images()
    assert torch.equal(augmented(augmented(pictures, shift=2), erasing=0.5), augmented(pictures, shift=2, erasing=0.5))


def batches(epoch, batch_size=7, **options):
    loader = Batches(images(), torch.arange(200), batch_size, torch.Tensor.float, 5, Augmentation(**options))
    loader.set_epoch(epoch)
    return loader


EVERYTHING = {"crop": 1, "shift": 2, "flip": True, "rotation": 10.0, "erasing": 0.5, "scale": 0.2, "elastic": 1.0}


def whole(loader):
    pictures, labels = zip(*loader, strict=True)
    return torch.cat(pictures), torch.cat(labels)


def test_order_and_augmentation_are_functions_of_seed_and_epoch():
    torch.manual_seed(1)
    once, labels = whole(batches(3, **EVERYTHING))
    torch.manual_seed(2)
    used = batches(0, **EVERYTHING)
    next(iter(used))
    whole(used)
    used.set_epoch(3)
    again, same_labels = whole(used)
    assert torch.equal(once, again)
    assert torch.equal(labels, same_labels)
    another, other_labels = whole(batches(4, **EVERYTHING))
    assert not torch.equal(labels, other_labels)
    assert not torch.equal(once[labels.argsort()], another[other_labels.argsort()])


def test_what_an_image_becomes_does_not_depend_on_its_batch():
    small, labels = whole(batches(3, batch_size=7, shift=2, flip=True, erasing=0.5))
    large, same_labels = whole(batches(3, batch_size=200, shift=2, flip=True, erasing=0.5))
    assert torch.equal(labels, same_labels)
    assert torch.equal(small, large)


def test_it_takes_nothing_from_the_global_random_numbers():
    before = torch.get_rng_state()
    whole(batches(0, **EVERYTHING))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shift": -1}, "data.augment.shift is -1, and must be a whole number of 0 or more"),
        ({"crop": 1.5}, "data.augment.crop is 1.5, and must be a whole number"),
        ({"rotation": 200}, "set 180 for any angle"),
        ({"erasing": 2.0}, "data.augment.erasing=2.0 is a probability; set 1.0 to erase"),
        ({"scale": 1.0}, "data.augment.scale is 1.0, and must be a number from 0 to below 1"),
        ({"elastic": -1.0}, "data.augment.elastic is -1.0, and must be a number of 0 or more"),
    ],
)
def test_mistakes_are_sentences(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Augmentation(**options)


@pytest.mark.parametrize("name", ["crop", "shift"])
def test_a_move_out_of_the_image_is_refused(train, name):
    with pytest.raises(ConfigError, match=rf"data.augment.{name}=28 moves an image of 28×28 pixels out of itself"):
        train(f"data.augment.{name}=28")


def test_a_bend_that_scrambles_the_image_is_refused(train):
    with pytest.raises(ConfigError, match=r"elastic=9.5 .* set 9 or less"):
        train("data.augment.elastic=9.5")


def test_only_training_batches_are_augmented():
    from conftest import composed

    from litmus.runs import build

    data = build(composed("data=synthetic", "data.augment.erasing=1.0", "data.scaling=raw").data)
    data.setup()
    plain, _ = data.parts["train"]
    measured, _ = whole(data.batches("train"))
    assert torch.equal(measured, plain.float())
    trained, _ = whole(data.train_dataloader())
    black = [(pictures == 0).flatten(1).float().mean(dim=1) for pictures in (plain, trained)]
    assert black[1].min() > black[0].max()
