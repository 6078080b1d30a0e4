import torch

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


def test_each_image_comes_once_with_its_label_and_the_last_batch_is_what_is_left():
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
