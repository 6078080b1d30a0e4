import numpy as np
import pytest
import torch

from litmus.data.pixels import channels_first, read_pixels
from litmus.errors import ConfigError


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7, 8), (5, 1, 7, 8)),
        ((5, 7, 8, 3), (5, 3, 7, 8)),
        ((5, 3, 7, 8), (5, 3, 7, 8)),
        ((5, 1, 7, 7), (5, 1, 7, 7)),
    ],
)
def test_the_axis_of_1_3_or_4_entries_is_the_channels(shape, expected):
    assert channels_first(torch.zeros(shape)).shape == expected


def test_channels_are_moved_and_not_reshaped():
    images = torch.arange(2 * 6 * 5 * 3).view(2, 6, 5, 3)
    assert torch.equal(channels_first(images)[1, 2], images[1, :, :, 2])


@pytest.mark.parametrize("shape", [(5, 8, 8, 5), (5, 3, 8, 4), (5, 28, 28, 2)])
def test_an_uncertain_axis_order_needs_the_layout(shape):
    with pytest.raises(ConfigError, match=r"set data\.layout=channels_last .*data\.layout=channels_first"):
        channels_first(torch.zeros(shape))
    n, a, b, c = shape
    assert channels_first(torch.zeros(shape), "channels_last").shape == (n, c, a, b)
    assert channels_first(torch.zeros(shape), "channels_first").shape == shape


def test_an_expected_image_shape_settles_the_axis_order():
    assert channels_first(torch.zeros(2, 8, 8, 5), image_shape=(5, 8, 8)).shape == (2, 5, 8, 8)
    assert channels_first(torch.zeros(2, 1, 4, 4), image_shape=(1, 4, 4)).shape == (2, 1, 4, 4)


def test_flat_images_are_refused_with_their_reshape():
    with pytest.raises(ConfigError, match=r"reshape\(-1, 28, 28\)"):
        channels_first(torch.zeros(5, 784))


VALUES = np.array([[[0, 51], [128, 255]]])


@pytest.mark.parametrize(
    "images",
    [
        VALUES.astype(np.uint8),
        VALUES.astype(np.int64),
        VALUES.astype(np.float32),
        (VALUES / 255).astype(np.float32),
        VALUES / 255,
    ],
    ids=["uint8", "int64", "whole float32", "unit float32", "unit float64"],
)
def test_pixels_of_any_certain_type_are_the_same_uint8(images):
    pixels, _ = read_pixels(images, "x")
    assert pixels.dtype == torch.uint8
    assert pixels.tolist() == VALUES.tolist()


def test_booleans_are_black_and_white():
    assert read_pixels(np.array([[[True, False]]]), "x")[0].tolist() == [[[255, 0]]]


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (VALUES / 127.5 - 1, r"x = \(\(x - low\) / \(high - low\) \* 255\)"),
        (VALUES / 255 + 10.5, r"x = x\.round\(\)\.astype\('uint8'\)"),
        (VALUES.astype(np.uint16) * 257, r"x = np\.uint8\(x \* \(255 / 65535\)\)"),
        (VALUES * 4.0, r"255 / 1023"),
        (VALUES // 255, r"x = np\.uint8\(x \* 255\)"),
        ((VALUES // 255).astype(np.uint8), r"holds uint8 from 0 to 1, .* if white is 1, x = np\.uint8\(x \* 255\)"),
        (np.zeros((1, 2, 2), np.uint8), "nothing but zeros"),
        (VALUES / 2550, r"x = np\.uint8\(x \* 255\)"),
        (np.array([[[np.nan, 0.7]]]), r"np\.nan_to_num\(x\)"),
        (np.array([[["a"]]]), "must hold uint8"),
        (np.zeros((0, 2, 2)), "no images"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_pixels_of_uncertain_unit_are_refused_with_the_conversion(images, line):
    with pytest.raises(ConfigError, match=line):
        read_pixels(images, "x")
