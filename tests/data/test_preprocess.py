import pytest
import torch

from litmus.data.preprocess import Preprocess
from litmus.errors import ConfigError


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


def test_a_channel_without_contrast_stays_finite():
    images = torch.full((4, 1, 2, 2), 7, dtype=torch.uint8)
    assert torch.equal(Preprocess.fit("standardize", images)(images), torch.zeros(4, 1, 2, 2))


def test_an_unknown_scaling_is_refused(images):
    with pytest.raises(ConfigError, match="did you mean standardize"):
        Preprocess.fit("standardise", images)
