import threading

import pytest
import torch

from litmus.data.augment import Augmentation
from litmus.data.batches import Batches

IMAGES = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
LABELS = torch.arange(10)


def batches(seed=None, epoch=0, size=4):
    loader = Batches(IMAGES, LABELS, size, preprocess=lambda images: images.float(), seed=seed)
    loader.set_epoch(epoch)
    return loader


def order(loader):
    return torch.cat([labels for _, labels in loader])


def test_without_a_seed_the_order_is_kept():
    assert torch.equal(order(batches()), LABELS)


def test_each_image_comes_once_and_the_last_batch_is_the_remainder():
    sizes = []
    for images, labels in batches(seed=0):
        sizes.append(len(labels))
        assert torch.equal(images.flatten(), labels.float())
    assert sizes == [4, 4, 2]
    assert len(batches()) == 3
    assert torch.equal(order(batches(seed=0)).sort().values, LABELS)


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    first = order(batches(seed=1, epoch=2))
    torch.manual_seed(99)
    assert torch.equal(order(batches(seed=1, epoch=2)), first)
    assert not torch.equal(order(batches(seed=1, epoch=3)), first)
    assert not torch.equal(order(batches(seed=2, epoch=2)), first)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    order(batches(seed=0))
    assert torch.equal(torch.get_rng_state(), before)


def shared(rank, seed=None):
    loader = Batches(IMAGES, LABELS, 4, preprocess=lambda images: images.float(), seed=seed, share=(rank, 2))
    return [labels.tolist() for _, labels in loader], len(loader)


def test_two_processes_share_every_batch_of_one():
    whole = [labels.tolist() for _, labels in batches(seed=3)]
    (first, count), (second, _) = shared(0, seed=3), shared(1, seed=3)
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(batch) for batch in whole]
    assert all(len(a) == len(b) for a, b in zip(first, second, strict=True))
    assert count == len(first)


def test_two_processes_measure_each_image_once():
    (first, _), (second, _) = shared(0), shared(1)
    assert sorted(label for batch in first + second for label in batch) == LABELS.tolist()


def augmented(prefetch_in_thread, augment, count=9000):
    images = torch.arange(count * 784).view(count, 1, 28, 28).to(torch.uint8)
    loader = Batches(
        images,
        torch.arange(count),
        64,
        lambda images: images.float(),
        5,
        augment,
        prefetch_in_thread=prefetch_in_thread,
    )
    loader.set_epoch(1)
    return loader


def test_a_thread_of_their_own_makes_the_same_batches_in_the_same_order():
    augment = Augmentation(shift=2, rotation=10.0)
    pairs = zip(augmented(True, augment), augmented(False, augment), strict=True)
    assert all(torch.equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


def test_only_augmented_cpu_batches_with_an_idle_core_are_prefetched():
    assert augmented(True, Augmentation(shift=2)).ahead
    assert not augmented(False, Augmentation(shift=2)).ahead
    assert not augmented(True, None).ahead


def making_batches():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_prefetch_raises_errors_and_leaves_no_thread():
    class Broken(Augmentation):
        def __call__(self, images, drawn):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        next(iter(augmented(True, Broken(shift=2))))
    assert not making_batches()
    batches = iter(augmented(True, Augmentation(shift=2)))
    next(batches)
    assert len(making_batches()) == 1
    batches.close()
    assert not making_batches()
