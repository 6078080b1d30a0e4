import numpy as np
import pytest
import torch
from picture_files import noise, truncated
from PIL import Image
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from litmus.data.image_decoder import ImageDecodeError, ImageDecoder, open_image
from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError

GREY = np.array([[0, 100, 255], [7, 8, 9]], np.uint8)


def shown(path) -> np.ndarray:
    return np.asarray(open_image(path))


def saved(tmp_path, image: Image.Image, suffix="png", **options):
    image.save(tmp_path / f"p.{suffix}", **options)
    return tmp_path / f"p.{suffix}"


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY).convert("RGB").quantize(16),
        Image.fromarray(GREY).convert("LA"),
        Image.fromarray(GREY).convert("RGBA"),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_comes_out_as_the_same_colors(tmp_path, image):
    assert (shown(saved(tmp_path, image)) == GREY[..., None].repeat(3, axis=2)).all()


@pytest.mark.parametrize("top", [1, 255])
def test_floating_point_runs_to_1_or_to_255(tmp_path, top):
    path = saved(tmp_path, Image.fromarray((GREY / 255 * top).astype(np.float32)), "tiff")
    assert (shown(path)[..., 0] == GREY).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0.5, np.nan], "NaN or infinity"),
        ([0.5, np.inf], "NaN or infinity"),
        ([0, 3000], "numbers from 0 to 3000"),
        ([-1, 1], "numbers from -1 to 1"),
    ],
)
def test_floating_point_that_is_not_pixels_is_bad(tmp_path, values, reason):
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "tiff")
    with pytest.raises(ImageDecodeError, match=reason):
        open_image(path)


def test_32_bit_numbers_above_16_bits_are_bad(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 70_000]], np.int32)), "tiff")
    with pytest.raises(ImageDecodeError, match="from 0 to 65535: it holds numbers from 0 to 70000"):
        open_image(path)


def test_a_16_bit_picture_without_a_bright_pixel_stays_dark(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((2, 2), 200, np.uint16)))
    assert (shown(path) == 1).all()


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "tiff")
    assert (shown(path) == (255, 0, 0)).all()


def test_what_is_transparent_is_white_and_what_is_half_so_half(tmp_path):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 51)])
    assert shown(saved(tmp_path, image))[0, :, 0].tolist() == [255, 0, 204]


def test_a_palettes_transparent_color_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert shown(saved(tmp_path, image, transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_it_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    path = saved(tmp_path, Image.fromarray(GREY), exif=exif)
    assert (shown(path)[..., 0] == np.rot90(GREY, -1)).all()


@pytest.mark.parametrize("size", [(300, 260), (260, 300)])
def test_the_imagenet_pipeline_is_torchvisions(tmp_path, size):
    path = noise(tmp_path / "p.png", size)
    theirs = ResNet18_Weights.DEFAULT.transforms()(open_image(path))
    image = ImageDecoder((3, 224, 224), "imagenet")(path)
    assert image.dtype == torch.uint8
    torch.testing.assert_close(Preprocess.fit("imagenet", image[None])(image[None])[0], theirs)


def test_resize_keeps_all_of_the_picture(tmp_path):
    image = Image.new("RGB", (40, 20))
    image.paste((255, 255, 255), (20, 0, 40, 20))
    small = ImageDecoder((3, 8, 8), "resize")(saved(tmp_path, image))
    assert small.shape == (3, 8, 8)
    assert (small[:, :, :3] == 0).all()
    assert (small[:, :, 5:] == 255).all()


def test_with_one_channel_it_is_gray(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4), (255, 0, 0)))
    assert ImageDecoder((1, 2, 2), "resize")(path).tolist() == [[[76, 76], [76, 76]]]  # 0.299 of 255


def test_a_large_jpeg_is_read_smaller_and_looks_the_same(tmp_path):
    gradient = np.add.outer(np.arange(800), np.arange(1200)) * 255 // 2000
    path = saved(tmp_path, Image.fromarray(gradient.astype(np.uint8)), "jpg", quality=95)
    assert open_image(path, least=128).size == (300, 200)
    whole = torch.tensor(np.array(open_image(path).resize((64, 64))))[..., 0].float()
    assert (ImageDecoder((3, 64, 64), "resize")(path)[0] - whole).abs().max() <= 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "^empty$"),
        (lambda path: path.write_text("hello"), "^not a picture that can be read$"),
        (lambda path: path.mkdir(), "^damaged: .*directory"),
        (lambda path: None, "^does not exist$"),
        (truncated, "^damaged: .*truncated"),
    ],
)
def test_a_bad_file_says_why(tmp_path, make, reason):
    path = tmp_path / "p.jpg"
    make(path)
    with pytest.raises(ImageDecodeError, match=reason):
        ImageDecoder((3, 8, 8), "resize")(path)


def test_too_many_pixels_are_bad_and_many_are_not(tmp_path, monkeypatch):
    path = noise(tmp_path / "p.png", (40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a warning up to twice that
    assert ImageDecoder((3, 8, 8), "resize")(path).shape == (3, 8, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageDecodeError, match="megapixels"):
        ImageDecoder((3, 8, 8), "resize")(path)


def test_a_file_without_permission_is_bad(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ImageDecodeError, match="permission denied"):
        open_image(tmp_path / "p.png")


@pytest.mark.parametrize("size", [(8001, 1), (1, 8000), (700, 50)])
def test_the_ends_of_a_long_picture_are_not_enlarged(tmp_path, monkeypatch, size):
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, to, *args, **options: sizes.append(to) or resize(self, to, *args, **options)
    )
    assert ImageDecoder((3, 56, 56), "imagenet")(noise(tmp_path / "p.png", size)).shape == (3, 56, 56)
    assert max(sizes[0]) <= 9 * 64


def test_the_middle_of_a_long_picture_is_what_torchvision_gives(tmp_path):
    path = noise(tmp_path / "p.png", (700, 50))
    whole = v2.Compose([v2.Resize(64), v2.CenterCrop(56)])(open_image(path))
    assert torch.equal(ImageDecoder((3, 56, 56), "imagenet")(path), pil_to_tensor(whole))


def test_another_pipeline_is_refused():
    with pytest.raises(ConfigError, match=r"data.pipeline is 'imagnet', which does not exist: did you mean imagenet\?"):
        ImageDecoder((3, 8, 8), "imagnet")
