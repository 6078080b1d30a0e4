import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends import backend_agg
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from litmus.callbacks import calibration, confusion_matrix
from litmus.callbacks.plots import image_grid, pixels, save, shorten_names, show, tile, weight_grid
from litmus.core import fonts


def drawn(figure):
    """The pixels (H, W, 3) of a figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


class Normalized:
    mean, std = torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1), torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)


def test_pixels_are_those_that_were_normalized():
    original = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    images = (original.float() - Normalized.mean) / Normalized.std
    assert torch.equal(pixels(images, Normalized), original)


def test_pixels_stay_within_what_a_pixel_can_be():
    assert pixels(torch.full((1, 3, 1, 1), 1e3), Normalized).flatten().tolist() == [255, 255, 255]
    assert pixels(torch.full((1, 3, 1, 1), -1e3), Normalized).flatten().tolist() == [0, 0, 0]


def test_tiles_lie_row_by_row_with_a_line_between_them():
    tiles = np.arange(3).reshape(3, 1, 1, 1).repeat(2, axis=1).repeat(2, axis=2).astype(float)
    nan = np.nan
    expected = [[0, 0, nan, 1, 1], [0, 0, nan, 1, 1], [nan] * 5, [2, 2, nan, nan, nan], [2, 2, nan, nan, nan]]
    assert np.array_equal(tile(tiles)[..., 0], expected, equal_nan=True)


def test_weights_are_drawn_on_one_scale_with_zero_in_its_middle():
    weights = torch.linspace(-1, 3, 400).view(4, 1, 10, 10)
    low, high = weight_grid(weights, "title").axes[0].get_ylim()
    assert low == -high
    assert 2.9 < high < 3


def test_the_sign_of_a_weight_can_be_told_without_color():
    weights = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    picture = drawn(weight_grid(weights, "title"))
    gray = np.array(picture @ [0.299, 0.587, 0.114])
    side = 200  # 600 dots for two columns and a line between them, and 0.1 inch of margin
    left, right, below = gray[-20 - 2 * side, 20], gray[-20 - 2 * side, 20 + 2 * side], gray[-20, 20]
    assert left < right < below


def test_a_layer_of_zeros_is_a_picture_too():
    assert weight_grid(torch.zeros(4, 1, 3, 3), "title").axes


def test_every_image_has_its_caption_below_it():
    shades = [10, 60, 110, 160, 210]
    images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    images[:, 0] = torch.tensor(shades, dtype=torch.uint8).view(5, 1, 1)  # red: the text is gray
    figure = image_grid(images, list("abcde"), "title", columns=2)
    picture = drawn(figure)
    _, *captions = figure.texts
    assert [text.get_text() for text in captions] == list("abcde")
    for shade, text in zip(shades, captions, strict=True):
        rows, columns = (picture == [shade, 0, 0]).all(axis=2).nonzero()
        box = text.get_window_extent()
        bottom = len(picture) - 1 - rows.max()  # matplotlib counts from below
        assert np.bincount(rows).max() >= 115
        assert columns.min() < box.x0 < box.x1 < columns.max()
        assert bottom - 10 < box.y1 < bottom


@pytest.mark.parametrize("side", [8, 300])
def test_an_image_is_as_wide_as_requested(side):
    images = torch.zeros(1, 3, side, 2 * side, dtype=torch.uint8)
    images[:, 0] = 99
    picture = drawn(image_grid(images, ["a"], "title", columns=1, wide=3.0))
    rows, columns = (picture == [99, 0, 0]).all(axis=2).nonzero()
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (300, 150)


def test_a_color_image_keeps_its_colors(tmp_path):
    image = torch.tensor([255, 0, 128], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    save(image_grid(image, ["red and some blue"], "title", columns=1), tmp_path / "image.png")
    colors = Image.open(tmp_path / "image.png").convert("RGB").getcolors(maxcolors=100_000)
    assert (255, 0, 128) in [color for _, color in colors]


def test_long_names_are_shortened():
    assert shorten_names(["abc", "abcd", "abcdefgh"], 4) == ["abc", "abcd", "abc…"]


def test_a_picture_that_was_shown_leaves_nothing_in_memory(monkeypatch):
    canvases = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            canvases.append(weakref.ref(self))

    monkeypatch.setattr(backend_agg, "FigureCanvasAgg", Canvas)
    figure = weight_grid(torch.randn(4, 1, 5, 5), "title")
    images = [weakref.ref(image.rgba) for image in figure.artists]
    gc.collect()
    gc.disable()  # what only the collector would find is there still
    try:
        show(SimpleNamespace(loggers=[], global_step=0), "weights", figure)
        assert images
        assert canvases
        assert all(left() is None for left in images + canvases)
    finally:
        gc.enable()


AWKWARD = ["$1_to_$5", "a_$b^{", "猫", "tab\there", "\\frac{", "𝒳🐈"]


def test_any_name_can_be_drawn_and_saved(tmp_path):
    images = torch.zeros(len(AWKWARD), 1, 8, 8, dtype=torch.uint8)
    names = shorten_names(AWKWARD, 14)
    save(image_grid(images, names, f"{AWKWARD[0]} {AWKWARD[2]}", columns=3), tmp_path / "grid.png")
    counts = torch.eye(len(AWKWARD), dtype=torch.long)
    save(confusion_matrix.draw(counts, AWKWARD, AWKWARD[1]), tmp_path / "matrix.png")
    save(calibration.draw(*calibration.binned(torch.rand(9), torch.ones(9), 3), AWKWARD[0]), tmp_path / "bars.png")


def test_a_dollar_sign_is_drawn_as_one():
    figure = image_grid(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), ["$x$"], "$y$", columns=1)
    assert not any(text.get_parse_math() for text in figure.texts)
    axes = confusion_matrix.draw(torch.eye(2, dtype=torch.long), ["$a$", "$b$"], "$c$").axes[0]
    texts = [axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()]
    assert [text.get_text() for text in texts] == ["$c$", "$a$", "$b$", "$a$", "$b$"]
    assert not any(text.get_parse_math() for text in texts)


def test_characters_without_a_font_are_escaped_and_the_log_says_so_once(caplog, monkeypatch):
    caplog.set_level("INFO", logger="litmus")
    monkeypatch.setattr(fonts, "_families", lambda: ("DejaVu Sans",))
    fonts._has_glyph.cache_clear()
    fonts._log_missing.cache_clear()
    assert [fonts.replace_missing_glyphs(text) for text in ("Äpfel №1", "猫a", "犬", "a\tb")] == [
        "Äpfel №1",
        "\\u732ba",
        "\\u72ac",
        "a\\tb",
    ]
    assert caplog.text.count("install one") == 1
    fonts._has_glyph.cache_clear()


def test_an_installed_fallback_font_is_used(monkeypatch):
    monkeypatch.setattr(fonts, "FALLBACKS", ("No Such Font", "STIXGeneral"))
    fonts._families.cache_clear()
    assert fonts.text_style()["font.family"] == ["DejaVu Sans", "STIXGeneral"]
    fonts._families.cache_clear()


def test_names_that_are_numbers_or_bytes_are_text():
    assert shorten_names([1, 2.5, b"caf\xc3\xa9"], 9) == ["1", "2.5", "café"]
