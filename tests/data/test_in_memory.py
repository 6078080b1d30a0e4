import pytest
import torch
from conftest import assert_same, composed, weights

from litmus.data import batches
from litmus.errors import ConfigError
from litmus.runs import build


def data(*overrides):
    return build(composed("data=synthetic", *overrides).data)


def ready(*overrides):
    made = data(*overrides)
    made.setup()
    return made


def sizes(made):
    return [made.size(part) for part in ("train", "val", "test")]


def test_validation_is_taken_from_the_training_images():
    assert sizes(ready("data.val_size=100")) == [412, 100, 128]
    assert sizes(ready("data.val_size=0.25")) == [384, 128, 128]


def test_train_size_and_test_size_take_the_first_images():
    whole, part = ready("data.val_size=0"), ready("data.val_size=0", "data.train_size=100", "data.test_size=50")
    assert sizes(part) == [100, 0, 50]
    assert torch.equal(part.parts["train"][0], whole.parts["train"][0][:100])
    assert torch.equal(part.parts["test"][1], whole.parts["test"][1][:50])


def test_a_fraction_of_too_few_images_leaves_no_validation_image():
    with pytest.raises(ConfigError, match=r"data\.val_size=0\.1 of 4 training images .* set data\.val_size=1 or more"):
        ready("data.train_size=4")
    assert sizes(ready("data.train_size=4", "data.val_size=1")) == [3, 1, 128]


def test_classes_without_a_training_image_are_noted():
    assert ready().notes == []
    assert ready("data.train_size=8", "data.val_size=0").notes == [
        "warning: 2 classes have no training image, such as class 8"
    ]


def test_there_may_be_no_validation():
    assert ready("data.val_size=0").val_dataloader() == []


def test_the_normalization_is_measured_on_the_training_part_alone():
    made = ready("data.val_size=300")
    torch.testing.assert_close(made.preprocess.mean.flatten(), made.parts["train"][0].float().mean().view(1))


def test_the_seed_decides_the_split():
    first, again, other = (ready(f"seed={seed}").parts["val"][0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.batch_size=0", "data.batch_size is 0, and must be a whole number of 1 or more"),
        ("data.eval_batch_size=-1", "data.eval_batch_size is -1"),
        ("data.val_size=-1", "data.val_size is -1"),
        ("data.val_size=1.5", "a whole number of images or a fraction below 1"),
        ("data.train_size=0", "data.train_size is 0"),
        ("data.test_size=some", "data.test_size is 'some'"),
        ("data.scaling=half", "data.scaling is 'half', which does not exist"),
    ],
)
def test_an_impossible_option_is_refused_before_anything_is_read(override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        data(override)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.val_size=512", "data.val_size=512 leaves no image to train on"),
        (
            "data.val_size=0.0009",
            "data.val_size=0.0009 of 512 training images leaves no validation image; set data.val_siz",
        ),
        ("data.train_size=513", "data.train_size=513 is more than the 512 training images there are"),
        ("data.test_size=129", "data.test_size=129 is more than the 128 test images there are"),
    ],
)
def test_more_images_than_there_are_is_refused(override, sentence):
    made = data(override)
    with pytest.raises(ConfigError, match=sentence):
        made.setup()


def test_prefetched_augmented_batches_train_the_same_weights(train, monkeypatch, set_threads):
    made = []
    beside = batches.prefetch
    monkeypatch.setattr(batches, "prefetch", lambda blocks: made.append(0) or beside(blocks))
    weights_of = {}
    for there in (1, 2):
        set_threads(there)
        run = train("data.augment.shift=1", "accelerator.threads=1", f"output_dir=of{there}", "test=false")
        assert bool(made) == (there == 2)
        weights_of[there] = weights(run.path)
    assert_same(weights_of[1], weights_of[2])
