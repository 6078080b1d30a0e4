import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from picture_files import folder, picture, truncated

import litmus
from litmus.inference.class_metrics import class_scores, mean_of

FEW = ("callbacks=none", "logger=none")


def test_precision_recall_and_f1_by_hand():
    counts = torch.tensor([[8, 2, 0], [4, 6, 0], [0, 0, 0]])
    cat, dog, cow = class_scores(counts, ["cat", "dog", "cow"])
    assert (cat.images, cat.precision, cat.recall, cat.f1) == (10, 8 / 12, 0.8, pytest.approx(2 / (12 / 8 + 10 / 8)))
    assert (dog.precision, dog.recall) == (6 / 8, 0.6)
    assert (cow.images, cow.precision, cow.recall, cow.f1) == (0, None, None, None)
    assert mean_of([cat, dog, cow], "recall") == pytest.approx(0.7)


def evaluation(path: Path):
    return json.loads((path / "evaluation.json").read_text())


def test_from_a_run_alone_come_the_figures_of_its_own_test(train, script, capsys):
    run = train(*SMALL[:2], *FEW, "trainer.max_epochs=1", "optim.lr=1e-4", "accelerator=cpu", "output_dir=run")
    script("evaluate.py", "run")
    script("evaluate.py", "run", "--checkpoint", "last")
    assert evaluation(run.path / "evaluation" / "own-last")["checkpoint"] == "last"
    found = evaluation(run.path / "evaluation" / "own")
    assert found["accuracy"] == pytest.approx(run.result["metrics"]["test/acc"])
    assert found["loss"] == pytest.approx(run.result["metrics"]["test/loss"], abs=1e-5)
    assert 0 < found["accuracy"] < 1
    names = {"confusion_matrix.png", "confusion_matrix.csv", "calibration.png", "worst_mistakes.png", "evaluation.json"}
    assert {path.name for path in (run.path / "evaluation" / "own").iterdir()} == names
    table = (run.path / "evaluation" / "own" / "confusion_matrix.csv").read_text()
    rows = list(csv.reader(table.splitlines()))
    counts = torch.tensor([[int(cell) for cell in row[1:]] for row in rows[1:]])
    assert counts.sum() == found["images"] == 128
    assert counts.trace() / 128 == pytest.approx(found["accuracy"])
    said = capsys.readouterr().out
    assert f"synthetic: accuracy {100 * found['accuracy']:.2f} % of 128 images" in said
    assert "class 9      12" in said


@pytest.fixture
def pets(train, tmp_path):
    """An MLP on folders of dark cats and light dogs, and some more of those."""
    for root, shift in (("pets", 0), ("more", 25)):
        for name, value in (("cat", 0), ("dog", 150)):
            for i in range(12):
                picture(tmp_path / root / name / f"{i}.png", value + shift + i)
    options = ("data=image_folder", f"data.root={tmp_path / 'pets'}", "data.image_size=8", "data.batch_size=8")
    return train(*options, *FEW, "trainer.max_epochs=9", "accelerator=cpu", "output_dir=run", small=False)


def test_another_folder_of_the_same_classes_is_tested_whole(pets, tmp_path, script, capsys):
    truncated(tmp_path / "more" / "cat" / "half.jpg")
    script("evaluate.py", "run", "--data", tmp_path / "more")
    found = evaluation(pets.path / "evaluation" / "more")
    assert (found["images"], found["accuracy"]) == (24, 1.0)
    assert "left out: 1 of 25 files is no good picture: cat/half.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("beside", ["train", None])
def test_evaluate_uses_the_test_folder_even_if_classes_are_absent(pets, tmp_path, script, beside):
    for i in range(5):
        picture(tmp_path / "parted" / "test" / "dog" / f"{i}.png", 170 + i)
        if beside is not None:
            picture(tmp_path / "parted" / beside / "dog" / f"{i}.png", 0)
    script("evaluate.py", "run", "--data", tmp_path / "parted")
    found = evaluation(pets.path / "evaluation" / "parted")
    assert [(one["name"], one["images"], one["recall"]) for one in found["classes"]] == [
        ("cat", 0, None),
        ("dog", 5, 1.0),
    ]


def test_the_preprocessing_is_the_one_it_was_trained_with(train, script):
    options = ("data.image_shape=[1,6,5]", "data.num_classes=4", "data.num_images=64", "model.hidden=[8]")
    run = train(*options, *FEW, "output_dir=run")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 50, (16, 6, 5), dtype=np.uint8), np.arange(16) % 4
    names = [f"class {number}" for number in range(4)]
    np.savez("mine.npz", x_test=x, y_test=y, class_names=names)
    script("evaluate.py", "run", "--data", "mine.npz", "--out", "there")
    with torch.no_grad():
        said = litmus.load(run.path)(torch.from_numpy(x)[:, None]).argmax(dim=1)
    assert evaluation(Path("there"))["accuracy"] == pytest.approx(float((said == torch.from_numpy(y)).float().mean()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere does not exist: give a run directory"),
        (["run", "--data", ""], "--data is empty: give data, or leave it out"),
        (["run", "--data", "empty", "--data-dir", "a"], "--data-dir is where downloads are, and --data empty is here"),
        (["run", "--data", "mnst"], "--data mnst does not exist: did you mean mnist?"),
        (["run", "--data", "mnist"], "the test images of mnist have shape [1, 28, 28], and the model was made for"),
        (["run", "--data", "others"], "others/pigs is none of the model's classes: there are cat, dog"),
        (["run", "--data", "empty"], "empty has no pictures in subfolders named cat, dog"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(pets, tmp_path, script, capsys, arguments, sentence):
    folder(tmp_path / "others", pigs=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        script("evaluate.py", *arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_as_many_other_classes_are_not_the_same(train, script, capsys):
    train(*FEW, "trainer.max_epochs=1", "data=synthetic", "output_dir=run")
    with pytest.raises(SystemExit):
        script("evaluate.py", "run", "--data", "mnist")
    assert "the classes of mnist (0, 1, 2, 3, …) are not those that the model was trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "names", "sentence"),
    [
        ([3, 3, 7], None, None),
        ([0, 1, 0], ["3", "7"], None),
        ([7, 7, 7], None, None),
        ([0, 1, 1], None, "the classes of arrays (0, 1) are not those"),
        ([3, 7, 9], None, "add class_names, one for each label, to the arrays"),
    ],
)
def test_labels_of_test_arrays_are_matched_by_name(train, script, capsys, tmp_path, labels, names, sentence):
    x = np.random.default_rng(0).integers(0, 50, (24, 6, 5), dtype=np.uint8)
    np.savez("train.npz", x_train=x, y_train=np.tile([3, 7], 12))
    train("data=arrays", "data.path=train.npz", "data.val_size=4", *FEW, "output_dir=run", small=False)
    extra = {} if names is None else {"class_names": names}
    np.savez("test.npz", x_test=x[:3], y_test=np.array(labels), **extra)
    if sentence is None:
        script("evaluate.py", "run", "--data", "test.npz", "--out", "there")
        images = [one["images"] for one in evaluation(Path("there"))["classes"]]
        of_first = labels.count(0 if names else 3)
        assert images == [of_first, 3 - of_first]
        return
    with pytest.raises(SystemExit) as stop:
        script("evaluate.py", "run", "--data", "test.npz", "--out", "there")
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_another_accuracy_than_the_runs_own_is_a_warning(train, script, capsys):
    run = train(*SMALL[:2], *FEW, "trainer.max_epochs=1", "accelerator=cpu", "output_dir=run")
    script("evaluate.py", "run")
    assert "measured a test accuracy" not in capsys.readouterr().err
    result = json.loads((run.path / "result.json").read_text())
    result["metrics"]["test/acc"] -= 0.1
    (run.path / "result.json").write_text(json.dumps(result))
    script("evaluate.py", "run")
    assert "measured a test accuracy" in capsys.readouterr().err
