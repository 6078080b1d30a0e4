import shutil
import unicodedata

import pytest
import torch
from picture_files import TINY, folder, made, noise, picture, ready, truncated

from litmus.data import batch_decoding as decoding
from litmus.errors import ConfigError, StoppedRun


def sizes(data):
    return {part: data.size(part) for part in ("train", "val", "test")}


def grays(data, part):
    """Which pictures a part has: in `folder` no two are of the same gray."""
    return set(data.parts[part][0][:, 0, 0, 0].tolist())


def test_one_folder_of_classes_is_split_in_three(tmp_path):
    data = ready(folder(tmp_path / "pets", cat=40, dog=20), "data.val_size=0.25", "data.test_share=0.2")
    assert sizes(data) == {"train": 36, "val": 12, "test": 12}
    assert [torch.bincount(data.parts[part][1]).tolist() for part in data.parts] == [[24, 12], [8, 4], [8, 4]]
    assert len(grays(data, "train") | grays(data, "val") | grays(data, "test")) == 60
    assert (data.name, data.class_names, data.num_classes, data.image_shape) == ("pets", ["cat", "dog"], 2, (3, 8, 8))


def test_labels_are_those_of_the_folders(tmp_path):
    data = ready(folder(tmp_path, cat=20, dog=20))
    for images, labels in data.parts.values():
        assert torch.equal(images[:, 0, 0, 0] >= 80, labels == 1)


def parts_of(tmp_path, **counts):
    for i, (part, count) in enumerate(counts.items()):
        for label, name in enumerate(("cat", "dog")):
            for j in range(count):
                picture(tmp_path / part / name / f"{j}.png", 100 * label + 20 * i + j)
    return tmp_path


def test_parts_that_have_folders_are_taken_as_they_are(tmp_path):
    data = ready(parts_of(tmp_path, train=8, val=3, test=5))
    assert sizes(data) == {"train": 16, "val": 6, "test": 10}
    assert grays(data, "test") == {*range(40, 45), *range(140, 145)}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"train": 10, "test": 2}, {"train": 16, "val": 4, "test": 4}),
        ({"train": 10, "val": 2}, {"train": 16, "val": 4, "test": 4}),
        ({"train": 10}, {"train": 12, "val": 4, "test": 4}),
    ],
    ids=lambda there: "+".join(there),
)
def test_a_part_without_a_folder_is_split_off(tmp_path, there, expected):
    options = {"val": "data.val_size=4", "test": "data.test_share=0.2"}
    split = [option for part, option in options.items() if part not in there]
    assert sizes(ready(parts_of(tmp_path, **there), *split)) == expected


@pytest.mark.parametrize("there", ["test", "val", "val test", "dev Testing"])
def test_parts_without_a_train_folder_are_refused(tmp_path, there):
    first, *_ = names = there.split()
    parts_of(tmp_path, **dict.fromkeys(names, 10))
    folders = " and ".join(f"{name}/" for name in names)
    with pytest.raises(ConfigError, match=rf"has {folders} and no train/; add train/ .* set data\.root=.*/{first} to"):
        made(tmp_path)
    assert sizes(ready(tmp_path / first, "data.test_share=0.2")) == {"train": 14, "val": 2, "test": 4}


def test_a_val_folder_is_not_split_off_too(tmp_path):
    root = parts_of(tmp_path, train=8, val=3)
    with pytest.raises(ConfigError, match=r"data\.val_size=0\.3 .*/val is the validation part"):
        made(root, "data.val_size=0.3")


@pytest.mark.parametrize("share", [0, 0.3])
def test_a_test_folder_is_not_split_off_too(tmp_path, share):
    root = parts_of(tmp_path, train=8, test=3)
    with pytest.raises(ConfigError, match=rf"data\.test_share={share} .*/test is the test part; leave it out"):
        made(root, f"data.test_share={share}")


def test_without_validation_a_val_folder_is_trained_on(tmp_path):
    data = ready(parts_of(tmp_path, train=8, val=3, test=5), "data.val_size=0")
    assert sizes(data) == {"train": 22, "val": 0, "test": 10}
    assert data.val_dataloader() == []


def test_the_seed_decides_the_validation_part_and_never_the_test_part(tmp_path):
    folder(tmp_path, cat=40, dog=40)
    first, again, other = (ready(tmp_path, f"seed={seed}") for seed in (1, 1, 2))
    assert grays(first, "val") == grays(again, "val") != grays(other, "val")
    assert grays(first, "test") == grays(other, "test")


@pytest.mark.trust
@pytest.mark.parametrize("to", ["cat", "dog"])
def test_a_new_file_moves_few_others_to_another_part(tmp_path, to):
    folder(tmp_path, cat=41, dog=36)
    before = ready(tmp_path, "data.val_size=0.2", "data.test_share=0.2")
    picture(tmp_path / to / "new.png", 200)
    after = ready(tmp_path, "data.val_size=0.2", "data.test_share=0.2")
    for part in ("train", "val", "test"):
        assert len(grays(before, part) - grays(after, part)) <= 2


def test_the_first_so_many_are_of_all_classes_and_stay_when_a_file_comes(tmp_path):
    folder(tmp_path, cat=40, dog=40)
    options = ("data.train_size=20", "data.test_size=4", "data.val_size=0")
    first = ready(tmp_path, *options)
    assert sizes(first) == {"train": 20, "val": 0, "test": 4}
    assert 3 < torch.bincount(first.parts["train"][1])[0] < 17


def test_some_of_the_classes_can_be_chosen_in_any_order(tmp_path):
    data = ready(folder(tmp_path, cat=4, dog=4, pig=4), "data.classes=[pig,cat]")
    assert data.class_names == ["pig", "cat"]
    images, labels = data.parts["train"]
    assert torch.equal(images[:, 0, 0, 0] >= 160, labels == 0)


def test_class_names_are_equal_in_any_unicode_normalization(tmp_path):
    names = ["grüne Äpfel", "poire n° 2"]
    for part, form in (("train", "NFC"), ("test", "NFD")):
        for i, name in enumerate(names):
            picture(tmp_path / part / unicodedata.normalize(form, name) / "a b.png", 100 * i)
            picture(tmp_path / part / unicodedata.normalize(form, name) / "ö.png", 100 * i)
    data = ready(tmp_path, "data.val_size=0")
    assert data.class_names == names
    assert sizes(data) == {"train": 4, "val": 0, "test": 4}


def test_a_class_with_one_picture_trains_on_it(tmp_path):
    data = ready(folder(tmp_path, cat=30, dog=1), "data.val_size=0.4", "data.test_share=0.4")
    assert data.parts["train"][1].tolist().count(1) == 1


def test_hidden_files_are_no_pictures_and_subfolders_are_looked_into(tmp_path):
    folder(tmp_path, cat=5, dog=5)
    (tmp_path / "cat" / ".DS_Store").write_text("x")
    (tmp_path / ".git").mkdir()
    picture(tmp_path / "dog" / "more" / "x.png", 99)
    assert sum(sizes(ready(tmp_path)).values()) == 11


# --- files that are no good ---


def spoilt(root):
    folder(root, cat=10, dog=10)
    truncated(root / "cat" / "half.jpg")
    (root / "cat" / "none.png").write_bytes(b"")
    (root / "dog" / "notes.txt").write_text("hello")
    return root


STORED = pytest.mark.parametrize("stored", ["data.memory_gb=1", "data.memory_gb=0"])


@pytest.mark.trust
@STORED
def test_bad_files_are_counted_and_named(tmp_path, stored):
    with pytest.raises(ConfigError) as refusal:
        ready(spoilt(tmp_path / "pets"), stored)
    said = str(refusal.value)
    assert said.startswith("3 of 23 files are no good pictures: ")
    assert all(
        name in said
        for name in (
            "cat/half.jpg (damaged: ",
            "cat/none.png (empty)",
            "dog/notes.txt (not a picture that can be read)",
        )
    )
    assert said.endswith("; remove them, or set data.bad_files=skip")


@STORED
def test_bad_files_are_left_out_when_asked_and_still_named(tmp_path, stored):
    data = ready(spoilt(tmp_path / "pets"), stored, "data.bad_files=skip")
    assert sum(sizes(data).values()) == 20
    assert "left out: 3 of 23 files are no good pictures: cat/half.jpg" in data.notes[0]
    for part in ("train", "val", "test"):
        assert sum(len(labels) for _, labels in data.batches(part)) == data.size(part)


def test_no_more_than_some_are_named(tmp_path):
    folder(tmp_path, cat=10, dog=10)
    for i in range(8):
        (tmp_path / "cat" / f"{i}.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"8 of 28 files .* and 3 more; remove"):
        ready(tmp_path)


def test_an_empty_class_is_an_error_or_left_out(tmp_path):
    folder(tmp_path, cat=10, dog=10)
    (tmp_path / "cow").mkdir()
    with pytest.raises(ConfigError, match="class folders without a picture: cow; fill or remove them"):
        made(tmp_path)
    data = made(tmp_path, "data.bad_files=skip")
    assert data.class_names == ["cat", "dog"]
    assert data.notes == ["left out class folders without a picture: cow"]


def test_a_class_whose_files_are_all_bad_is_an_error(tmp_path):
    folder(tmp_path, cat=10, dog=10)
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="no file of the class cow is a good picture"):
        ready(tmp_path, "data.bad_files=skip")


@pytest.mark.trust
def test_a_file_that_breaks_after_it_was_checked_is_a_sentence(tmp_path):
    data = ready(folder(tmp_path / "pets", cat=10, dog=10), "data.memory_gb=0")
    for path in (tmp_path / "pets").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(StoppedRun, match=r"png is empty, and was good when it was checked"):
        list(data.train_dataloader())


def test_what_was_checked_is_not_checked_again_unless_it_changed(tmp_path, monkeypatch):
    root = folder(tmp_path / "pets", cat=10, dog=10)
    ready(root, "data.memory_gb=0")
    checks = []
    check = decoding.decode_all
    monkeypatch.setattr(decoding, "decode_all", lambda *args, **options: checks.append(1) or check(*args, **options))
    ready(root, "data.memory_gb=0")
    assert not checks
    for path in root.rglob("*.png"):
        noise(path)
    ready(root, "data.memory_gb=0")
    assert len(checks) == 3


# --- batches ---


def same_batches(first, second):
    for (images, labels), (others, other_labels) in zip(first, second, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_decoded_on_demand_equal_those_from_memory(tmp_path, workers):
    root = folder(tmp_path / "pets", cat=15, dog=12)
    options = ("data.augment.shift=2", "data.augment.flip=true", "data.pipeline=imagenet")
    memory = ready(root, *options)
    disk = ready(root, *options, "data.memory_gb=0", f"data.workers={workers}")
    one, other = memory.train_dataloader(), disk.train_dataloader()
    for epoch in (0, 1):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        same_batches(one, other)
    same_batches(memory.batches("train", first=5), disk.batches("train", first=5))
    same_batches(memory.val_dataloader(), disk.val_dataloader())


def test_a_run_from_disk_is_the_run_from_memory(train, tmp_path):
    root = folder(tmp_path / "pets", cat=15, dog=12)
    options = (*TINY, f"data.root={root}", "trainer.max_epochs=2", "accelerator=cpu", "logger=none")
    memory, disk = (train(*options, f"data.memory_gb={gb}", small=False) for gb in (1, 0))
    assert memory.result["metrics"] == disk.result["metrics"]


@pytest.mark.trust
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.pipeline=squeeze", "data.pipeline is 'squeeze', which does not exist"),
        ("data.channels=4", "data.channels is 4, and must be 3, for color, or 1, for gray"),
        ("data.classes=[cat,dog,cat]", "data.classes names 'cat' twice; name each class once"),
        ("data.classes=[]", r"data.classes is \[\], and must be a list of class folders; set null for all"),
        ("data.classes=cat", "data.classes is 'cat', and must be a list"),
        ("data.classes=[cat,cow]", "data.classes names 'cow', and .* has cat, dog"),
        ("data.test_share=1.0", "data.test_share is 1.0"),
        ("data.bad_files=ignore", "data.bad_files is 'ignore'"),
        ("data.train_size=99", "data.train_size=99 is more than the 18 pictures there"),
        ("data.classes=[cat]", "has pictures of 1 class, and must have them of two or more"),
    ],
)
def test_mistakes_are_sentences_before_anything_is_decoded(tmp_path, override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        made(folder(tmp_path, cat=10, dog=10), override)


def test_a_root_that_is_no_folder_of_classes_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder: give one with a subfolder of pictures for each class"):
        made(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="has no subfolders: put the pictures of each class into one of its own"):
        made(tmp_path)


def test_a_class_to_test_on_that_is_not_trained_is_a_sentence(tmp_path):
    parts_of(tmp_path, train=4, test=4)
    shutil.move(tmp_path / "test" / "dog", tmp_path / "test" / "dogs")
    with pytest.raises(ConfigError, match=r"dogs is none of the model's classes: did you mean dog\?"):
        made(tmp_path)


def test_standardize_needs_the_images_in_memory(tmp_path):
    folder(tmp_path, cat=10, dog=10)
    with pytest.raises(ConfigError, match="raise it, or set data.scaling=unit"):
        ready(tmp_path, "data.memory_gb=0", "data.scaling=standardize")
    assert ready(tmp_path, "data.scaling=standardize").preprocess.mean.flatten()[0] > 1


@pytest.mark.parametrize(("options", "count"), [([], 1), (["data.test_share=0"], 0)])
def test_a_test_part_split_off_beside_a_val_folder_is_named(tmp_path, options, count):
    data = ready(parts_of(tmp_path, train=10, val=3), *options)
    notes = [note for note in data.notes if "data.test_share=0" in note]
    assert len(notes) == count
    assert all(" images of train/" in note for note in notes)
