import gzip
import pickle

import numpy as np
import pytest
import torch

import litmus
from litmus.data import arrays
from litmus.errors import ConfigError

OPTIONS = {
    "batch_size": 8, "eval_batch_size": 8, "train_size": None, "val_size": 0.25, "test_size": None,
    "scaling": "unit", "data_dir": "data", "seed": 0,
}  # fmt: skip
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def contents(**changes):
    given = {"x_train": X[:16], "y_train": np.arange(16) % 4, "x_test": X[32:], "y_test": np.arange(8) % 4}
    return {key: value for key, value in (given | changes).items() if value is not None}


def npz(path, **changes):
    np.savez(path, **contents(**changes))
    return path


def made(path, **options):
    return arrays(str(path), **(OPTIONS | options))


def ready(path, **options):
    data = made(path, **options)
    data.setup()
    return data


def sizes(data):
    return [data.size(part) for part in ("train", "val", "test")]


def test_arrays_say_themselves_what_they_are(tmp_path):
    data = ready(npz(tmp_path / "mine.npz", class_names=np.array(["a", "b", "c", "d"])))
    assert (data.num_classes, data.image_shape) == (4, (3, 6, 5))
    assert data.class_names == ["a", "b", "c", "d"]
    assert sizes(data) == [12, 4, 8]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_given_validation_part_is_used(tmp_path, name):
    labels = np.arange(8) % 4
    path = npz(tmp_path / "mine.npz", **{f"x_{name}": X[16:24], f"y_{name}": labels})
    data = ready(path, val_size=0.1)
    assert sizes(data) == [16, 8, 8]
    assert torch.equal(data.parts["val"][0], torch.from_numpy(X[16:24]).permute(0, 3, 1, 2))
    assert sizes(ready(path, val_size=0)) == [24, 0, 8]
    with pytest.raises(ConfigError, match=r"data\.val_size=0\.3 .* x_val of data=arrays is the validation part"):
        ready(path, val_size=0.3)


def test_without_test_arrays_there_is_no_test_part(tmp_path):
    data = ready(npz(tmp_path / "mine.npz", x_test=None, y_test=None))
    assert sizes(data) == [12, 4, 0]
    with pytest.raises(ConfigError, match="test=false"):
        data.test_dataloader()
    with pytest.raises(ConfigError, match=r"no test images; leave data\.test_size out"):
        ready(npz(tmp_path / "mine.npz", x_test=None, y_test=None), test_size=4)


def test_labels_of_all_parts_are_numbered_as_the_training_labels(tmp_path):
    names = np.array(["cow", "ant", "bee", "dog"])
    data = ready(npz(tmp_path / "mine.npz", y_train=names[np.arange(16) % 4], y_test=names[np.arange(8) % 4]))
    assert data.class_names == ["ant", "bee", "cow", "dog"]
    assert data.parts["test"][1].tolist() == [2, 0, 1, 3] * 2
    data = ready(npz(tmp_path / "mine.npz", y_train=np.arange(16) % 4 + 1, y_test=np.arange(8) % 4 + 1))
    assert (data.num_classes, data.class_names) == (4, ["1", "2", "3", "4"])
    assert data.parts["test"][1].tolist() == [0, 1, 2, 3] * 2


def test_numeric_class_names_belong_to_the_labels_of_their_value(tmp_path):
    labels = np.array([3, 5, 8, 5])
    data = ready(
        npz(tmp_path / "mine.npz", y_train=np.tile(labels, 4), y_test=np.tile(labels, 2), class_names=[5, 3, 8])
    )
    assert data.class_names == ["5", "3", "8"]
    assert data.parts["test"][1].tolist() == [1, 0, 2, 0] * 2
    assert data.notes == [f"data.path={tmp_path / 'mine.npz'}: the labels 5, 3, 8 of y_train are the classes 5, 3, 8"]


def test_an_uncertain_axis_order_is_refused_and_the_layout_settles_it(tmp_path):
    x = RNG.integers(0, 256, (24, 8, 8, 5), dtype=np.uint8)
    path = npz(tmp_path / "mine.npz", x_train=x[:16], x_test=x[16:])
    with pytest.raises(ConfigError, match=r"x_train of .* set data\.layout=channels_last"):
        made(path)
    assert made(path, layout="channels_last").image_shape == (5, 8, 8)
    assert made(path, layout="channels_first").image_shape == (8, 8, 5)


def packed(path):
    path.write_bytes(gzip.compress(npz(path.parent / "plain.npz").read_bytes()))
    return path


def spread(path):
    path.mkdir()
    for name, value in contents().items():
        np.save(path / f"{name}.npy", value)
    return path


def compressed(path):
    np.savez_compressed(path, **contents(extra=np.zeros(3)))
    return path


@pytest.mark.parametrize(
    ("make", "name"), [(packed, "mine.npz.gz"), (spread, "mine"), (compressed, "mine.npz")], ids=["gz", "npy", "zip"]
)
def test_every_container_gives_the_same_images(tmp_path, make, name):
    expected = ready(npz(tmp_path / "expected.npz"))
    found = ready(make(tmp_path / name))
    for part in ("train", "val", "test"):
        assert all(torch.equal(a, b) for a, b in zip(found.parts[part], expected.parts[part], strict=True))


def test_an_array_of_another_name_is_ignored_and_named(tmp_path):
    (note,) = made(npz(tmp_path / "mine.npz", weights=np.zeros(16))).notes
    assert note.endswith("ignores the arrays weights")


@pytest.mark.parametrize("policy", ["error", "warn", "drop"])
def test_an_image_in_two_parts_is_answered_as_requested(tmp_path, policy):
    x_test = X[32:].copy()
    x_test[:3] = X[:3]
    path = npz(tmp_path / "mine.npz", x_test=x_test)
    if policy == "error":
        with pytest.raises(ConfigError, match=r"3 of the training part in the test part .*data\.duplicates=drop"):
            ready(path, duplicates=policy, val_size=0)
        return
    data = ready(path, duplicates=policy, val_size=0)
    assert "3 of the training part in the test part (train[0] = test[0]" in data.notes[0]
    assert sizes(data) == ([16, 0, 8] if policy == "warn" else [13, 0, 8])
    if policy == "drop":
        assert torch.equal(data.parts["train"][0], torch.from_numpy(X[3:16]).permute(0, 3, 1, 2))


@pytest.mark.trust
def test_an_image_with_two_labels_is_a_warning(tmp_path):
    x, labels = np.concatenate([X[:16], X[:16]]), np.arange(16) % 4
    y = np.concatenate([labels, (labels + 1) % 4])
    data = ready(npz(tmp_path / "mine.npz", x_train=x, y_train=y), val_size=0)
    (note,) = [note for note in data.notes if "two classes" in note]
    assert "16 images are in two classes, such as train[0] (0) = train[16] (1)" in note
    assert not any("two classes" in note for note in ready(npz(tmp_path / "one.npz")).notes)


@pytest.mark.trust
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_train": None}, "lacks the array y_train"),
        ({"x_val": X[:4]}, "lacks the array y_val"),
        ({"x_val": X[:4], "x_valid": X[:4]}, "has x_val and x_valid; keep one"),
        ({"x_train": X[:16] / 127.5 - 1}, r"x_train .* normalized already"),
        ({"x_test": X[32:] / 255}, "x_train 0 to 255, x_test 0 to 1.; bring all to 0 to 255"),
        ({"y_train": np.zeros(16) + 0.5}, "y_train holds fractions"),
        ({"y_train": np.arange(15) % 4}, "16 training images and 15 labels"),
        ({"y_test": (np.arange(8) % 4).astype(str)}, "y_test holds text and y_train numbers; give both as text or"),
        ({"x_train": X[:16] / 200}, r"from 0 to 1\.2.*; if white is 1, x_train = x_train\.clip\(0, 1\)"),
        ({"y_test": np.arange(8)}, "y_test holds the label 4, 5, 6, 7, which no training image has"),
        ({"x_test": X[:8, :, [0, 1, 2, 3, 4, 4]]}, r"test images .* have shape \[3, 6, 6\], and \[3, 6, 5\]"),
        ({"x_train": np.array([None] * 16, dtype=object)}, r"x_train .* Python objects.*np\.array\(x_train\.tolist"),
        ({"y_train": np.zeros(16, int), "y_test": np.zeros(8, int)}, "number of classes .* is 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ready(npz(tmp_path / "bad.npz", **changes))


@pytest.mark.trust
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.write_text("hello"), r"not a readable \.npz .*np\.savez"),
        (lambda path: path.write_bytes(pickle.dumps({"x": 1})), r"may run code\); save it with np\.savez"),
        (lambda path: path.write_bytes(gzip.compress(b"hello")[:-4]), r"not a readable \.npz"),
        (lambda path: path.mkdir(), "lacks the array x_train and y_train"),
        (lambda path: None, "does not exist"),
    ],
)
def test_a_file_that_is_not_an_npz_is_refused(tmp_path, make, sentence):
    make(tmp_path / "bad.npz")
    with pytest.raises(ConfigError, match=sentence):
        made(tmp_path / "bad.npz")


def test_object_arrays_are_refused_with_the_line_that_converts(tmp_path):
    for name, array in contents(y_train=np.array(["a", "b"] * 8, dtype=object)).items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ConfigError, match=r"y_train .* Python objects.*np\.array\(y_train\.tolist\(\)\)"):
        made(tmp_path)


def test_a_single_npy_is_refused_with_the_line_that_saves_both(tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ConfigError, match=r"one array, .*np\.savez.*folder with x_train\.npy and y_train\.npy"):
        made(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("names", "numbers"), [(["w", "3", "7"], [1, 2]), (["a", *"bcdefgh"], None), (["x", "y"], None)]
)
def test_labels_are_numbered_by_the_names_of_a_models_classes(tmp_path, names, numbers):
    labels = np.tile([3, 7], 4)
    data = ready(npz(tmp_path / "mine.npz", y_train=np.tile(labels, 2), y_test=labels))
    assert data.use_classes(names) == (numbers is not None)
    if numbers is not None:
        assert data.parts["test"][1].tolist() == numbers * 4
        assert (data.class_names, data.num_classes) == (names, len(names))


def test_a_run_without_test_arrays_says_so_and_is_not_tested(train, tmp_path, caplog):
    caplog.set_level("INFO", logger="litmus")
    labels = np.array(["bee", "ant"])[np.arange(16) % 2]
    npz(tmp_path / "mine.npz", y_train=labels, x_test=None, y_test=None)
    options = ("data=arrays", "data.path=mine.npz", "data.val_size=4", "trainer.max_epochs=1", "logger=none")
    with pytest.raises(ConfigError, match=r"arrays has no test images: leave test=true out"):
        train(*options, "callbacks=none", "accelerator=cpu", "test=true", "output_dir=refused", small=False)
    assert not (tmp_path / "refused").exists()
    run = train(*options, "callbacks=none", "accelerator=cpu", "output_dir=run", small=False)
    assert not [name for name in run.result["metrics"] if name.startswith("test/")]
    assert "on arrays, 12 / 4 / 0 images of 3×6×5 in 2 classes to train / validate / test (so no test)" in caplog.text
    assert litmus.load(run.path).class_names == ["ant", "bee"]
