import os
import unicodedata

import pytest
import torch
from conftest import composed
from picture_files import TINY, folder, made, noise, picture, ready

from litmus.data import duplicates, listing
from litmus.data.duplicates import equal_files
from litmus.data.listing import (
    class_folders,
    drop_repeated_files,
    files_below,
    find_part_folders,
    list_images,
    readable,
)
from litmus.errors import ConfigError
from litmus.runs import build


def sizes(data):
    return [data.size(part) for part in ("train", "val", "test")]


def parted(root, **names):
    """Folders of these names, each with this many images of cats and dogs."""
    for i, (name, count) in enumerate(names.items()):
        for j in range(2 * count):
            picture(root / name / ("cat", "dog")[j % 2] / f"{j}.png", 40 * i + j)
    return root


# --- which folder is which part ---


@pytest.mark.parametrize(
    "names", ["train val test", "training validation testing", "Train valid TEST", "train dev test"]
)
def test_common_names_of_parts_are_understood(tmp_path, names):
    data = ready(parted(tmp_path, **dict(zip(names.split(), (5, 2, 3), strict=True))))
    assert data.class_names == ["cat", "dog"]
    assert sizes(data) == [10, 4, 6]


def test_a_folder_beside_a_part_that_is_none_is_refused(tmp_path):
    parted(tmp_path, train=2, holdout=2)
    with pytest.raises(ConfigError, match=r"holdout lies beside train/ .* rename it, or move it out of data\.root"):
        made(tmp_path)


def test_two_folders_of_one_part_are_refused(tmp_path):
    parted(tmp_path, train=2, val=2, valid=2)
    with pytest.raises(ConfigError, match=r"val and .*valid are both the val part: merge them"):
        made(tmp_path)


def test_a_class_may_have_a_parts_name(tmp_path):
    assert made(folder(tmp_path, bus=5, train=5)).class_names == ["bus", "train"]


def test_parts_without_class_folders_are_no_classes(tmp_path):
    folder(tmp_path, train=5, test=5)
    with pytest.raises(ConfigError, match="train has no subfolders: put the pictures of each class into one"):
        made(tmp_path)
    assert set(find_part_folders(tmp_path)) == {"train", "test"}


def test_a_class_that_holds_only_folders_is_refused(tmp_path):
    folder(tmp_path / "animals", cat=2, dog=2)
    folder(tmp_path / "vehicles", car=2)
    with pytest.raises(ConfigError, match=r"animals holds only folders \(cat, dog\).* set data\.root=.*animals"):
        made(tmp_path)


@pytest.mark.parametrize("part", ["val", "test"])
def test_class_folders_that_differ_between_parts_are_refused(tmp_path, part):
    parted(tmp_path, train=4, **{part: 2})
    folder(tmp_path / "train", cow=3)
    with pytest.raises(ConfigError, match=rf"{part} has no folder cow, which .*train has: add it"):
        made(tmp_path)
    (tmp_path / part / "cow").mkdir()
    assert made(tmp_path).class_names == ["cat", "cow", "dog"]


def test_a_part_without_a_picture_is_refused(tmp_path):
    parted(tmp_path, train=4)
    for name in ("cat", "dog"):
        (tmp_path / "val" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match="val has no picture of its own: add some, or remove it"):
        made(tmp_path)


def test_pictures_in_no_class_folder_are_counted_and_named(tmp_path):
    folder(tmp_path, cat=5, dog=5)
    picture(tmp_path / "loose.png")
    (tmp_path / "README").write_text("hello")
    (note,) = made(tmp_path).notes
    assert note.startswith("left out 1 picture ")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.train_size=4", r"data\.val_size=0\.1 of 4 training images .* set data\.val_size=1 or more"),
        ("data.val_size=0.001", r"data\.val_size=0\.001 of 18 training images"),
        ("data.test_share=0.001", r"data\.test_share=0\.001 of 20 pictures leaves none to test"),
    ],
)
def test_a_share_of_too_few_pictures_is_refused(tmp_path, override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        made(folder(tmp_path, cat=10, dog=10), override)


def test_no_share_to_test_leaves_no_test_part(tmp_path):
    assert sizes(ready(folder(tmp_path, cat=10, dog=10), "data.test_share=0")) == [18, 2, 0]


# --- names ---


def test_one_name_in_two_encodings_is_refused(tmp_path):
    for form in ("NFC", "NFD"):
        picture(tmp_path / unicodedata.normalize(form, "Äpfel") / "a.png")
    with pytest.raises(ConfigError, match=r"two folders Äpfel, .*merge them"):
        class_folders(tmp_path)


def test_a_name_that_is_not_utf8_is_read_as_text(tmp_path):
    root = folder(tmp_path / "pets", cat=5, dog=5)
    try:
        os.rename(root / "cat", os.fsencode(root) + b"/caf\xe9")
        os.rename(os.fsencode(root) + b"/caf\xe9/00.png", os.fsencode(root) + b"/caf\xe9/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    data = ready(root, "data.val_size=2", "data.test_share=0.2")
    assert data.class_names == ["caf\\xe9", "dog"]
    assert sum(sizes(data)) == 10
    assert readable(next(root.iterdir()).parent) == str(root)


def test_a_root_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"pets\\xe9 is not UTF-8: rename it"):
        made(tmp_path / os.fsdecode(b"pets\xe9"))


def test_a_root_of_an_unknown_user_is_refused():
    with pytest.raises(ConfigError, match="names a user without a home directory"):
        build(composed(*TINY, "data.root='~nosuchuser/pets'").data)


def test_numbers_may_name_chosen_classes(tmp_path):
    assert made(folder(tmp_path, **{"1": 4, "2": 4, "3": 4}), "data.classes=[3,1]").class_names == ["3", "1"]


def test_a_folder_that_cannot_be_read_is_a_sentence(tmp_path, monkeypatch):
    folder(tmp_path, cat=4, dog=4)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"cat cannot be read \(permission denied\): change its permissions"):
        made(tmp_path)


# --- links and duplicates ---


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    folder(tmp_path, cat=5, dog=5)
    (tmp_path / "cat" / "loop").symlink_to(".")
    (tmp_path / "cat" / "self").symlink_to("self")
    found = [path.name for path in files_below(tmp_path / "cat")]
    assert found == ["00.png", "01.png", "02.png", "03.png", "04.png", "self"]


@pytest.mark.parametrize("stored", ["data.memory_gb=1", "data.memory_gb=0"])
def test_a_link_that_leads_nowhere_is_a_bad_file(tmp_path, stored):
    root = folder(tmp_path / "pets", cat=10, dog=10)
    (root / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(ConfigError, match=r"1 of 21 files .* cat/gone\.png \(a link that leads nowhere\)"):
        ready(root, stored)
    assert sum(sizes(ready(root, stored, "data.bad_files=skip"))) == 20


def test_a_file_counts_once_however_many_links_lead_to_it(tmp_path):
    root = parted(tmp_path, train=4, test=2)
    (root / "train" / "cat" / "soft.png").symlink_to("0.png")
    os.link(root / "train" / "cat" / "2.png", root / "train" / "cat" / "hard.png")
    (root / "train" / "dog" / "leak.png").symlink_to(root / "test" / "dog" / "1.png")
    folders = {part: root / part for part in ("train", "test")}
    notes = []
    parts = drop_repeated_files({part: list_images(path, ["cat", "dog"]) for part, path in folders.items()}, notes)
    assert {part: len(files) for part, files in parts.items()} == {"train": 8, "test": 4}
    assert notes[0].startswith("left out 3 links")


def test_a_file_in_two_classes_is_refused(tmp_path):
    folder(tmp_path, cat=4, dog=4)
    (tmp_path / "cat" / "more").symlink_to("../dog")
    with pytest.raises(ConfigError, match="are the same file in two classes: remove one"):
        made(tmp_path)


@pytest.mark.parametrize("stored", ["data.memory_gb=1", "data.memory_gb=0"])
@pytest.mark.parametrize("policy", ["error", "warn", "drop"])
def test_a_copy_in_another_part_is_answered_as_requested(tmp_path, policy, stored):
    root = parted(tmp_path / "pets", train=6, val=2, test=2)
    for i, name in ((0, "a"), (2, "b")):
        (root / "train" / "cat" / f"{name}.png").write_bytes((root / "test" / "cat" / f"{i}.png").read_bytes())
    (root / "val" / "cat" / "c.png").write_bytes((root / "test" / "cat" / "0.png").read_bytes())
    if policy == "error":
        with pytest.raises(ConfigError, match=r"2 of the training part in the test part.*data\.duplicates=drop"):
            ready(root, stored, f"data.duplicates={policy}")
        return
    data = ready(root, stored, f"data.duplicates={policy}")
    assert "1 of the validation part in the test part, 2 of the training part in the" in data.notes[0]
    assert "val/cat/c.png = test/cat/0.png" in data.notes[0]
    assert sizes(data) == ([14, 5, 4] if policy == "warn" else [12, 4, 4])
    assert sum(len(labels) for _, labels in data.batches("train")) == data.size("train")


def test_only_files_of_one_size_are_read_to_compare_them(tmp_path, monkeypatch):
    for name, text in {"a": "one", "b": "two", "c": "one", "d": "longer"}.items():
        (tmp_path / name).write_text(text)
    files = sorted(tmp_path.iterdir())
    read = []
    monkeypatch.setattr(duplicates, "_tail", lambda path: read.append(path.name) or path.read_bytes())
    assert equal_files(files) == {files[0]: str(files[0]), files[2]: str(files[0])}
    assert read == ["a", "b", "c"]


def test_labels_follow_what_is_dropped(tmp_path):
    root = parted(tmp_path / "pets", train=6, val=2, test=2)
    (root / "train" / "dog" / "a.png").write_bytes((root / "test" / "cat" / "0.png").read_bytes())
    data = ready(root, "data.duplicates=drop")
    assert torch.bincount(data.parts["train"][1]).tolist() == [6, 6]


def test_a_whole_part_that_is_a_copy_is_refused(tmp_path):
    root = parted(tmp_path / "pets", train=3)
    for path in (root / "train").rglob("*.png"):
        copy = noise(root / "test" / path.relative_to(root / "train"))
        copy.write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match=r"every picture of the \w+ part is in a later part"):
        ready(root, "data.duplicates=drop", "data.val_size=1")
