import json

import pytest
import torch
import torchvision
from conftest import SMALL
from picture_files import folder, noise, picture, truncated
from safetensors.torch import save_file
from torchvision.transforms.v2 import functional as F

import litmus
from litmus.data.image_decoder import ImageDecoder
from litmus.errors import ConfigError
from litmus.inference.perturbations import Perturbation
from litmus.inference.torchvision_models import load_torchvision

FEW = ("trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false")


@pytest.fixture
def run(train, tmp_path):
    """An MLP on light and dark pictures."""
    for name, value in (("dark", 0), ("light", 200)):
        for i in range(20):
            picture(tmp_path / "pets" / name / f"{i}.png", value + i)
    options = ("data=image_folder", f"data.root={tmp_path / 'pets'}", "data.image_size=8", "data.batch_size=8")
    return train(*options, *FEW, "accelerator=cpu", "trainer.max_epochs=5", "output_dir=run", small=False).path


def answers(capsys):
    return json.loads(capsys.readouterr().out)


def test_pictures_of_any_size_are_named_with_the_models_probabilities(run, tmp_path, script, capsys):
    small, large = picture(tmp_path / "a.png", 5, (3, 4)), picture(tmp_path / "b.jpg", 240, (700, 500))
    script("predict.py", run, small, large, "--json")
    dark, light = answers(capsys)
    assert (dark["path"], dark["top"][0]["class"]) == (str(small), "dark")
    assert (light["path"], light["top"][0]["class"]) == (str(large), "light")
    trained = litmus.load(run)
    with torch.no_grad():
        p = trained(ImageDecoder((3, 8, 8), "imagenet")(small)[None]).softmax(dim=1)[0]
    assert [one["probability"] for one in dark["top"]] == pytest.approx(
        p.sort(descending=True).values.tolist(), abs=1e-6
    )


def test_a_run_on_gray_images_is_shown_gray_ones_of_their_size(train, tmp_path, script, capsys):
    gray = train(*SMALL, *FEW, "output_dir=run").path
    script("predict.py", gray, noise(tmp_path / "a.jpg", (90, 70)), "--json", "--top", "3")
    assert len(answers(capsys)[0]["top"]) == 3
    assert litmus.load(gray).decode.shape == (1, 28, 28)


def test_a_table_names_each_picture_once(run, tmp_path, script, capsys):
    script("predict.py", run, picture(tmp_path / "a.png", 5), "--top", "1")
    line = capsys.readouterr().out.split()
    assert line[0] == str(tmp_path / "a.png")
    assert line[2:] == ["%", "dark"]
    assert 50 < float(line[1]) <= 100


def test_in_a_folder_what_is_no_picture_is_left_out_and_named(run, tmp_path, script, capsys):
    folder(tmp_path / "more", cat=2, dog=1)
    (tmp_path / "more" / "cat" / "notes.txt").write_text("hello")
    script("predict.py", run, tmp_path / "more", "--json")
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 3
    assert "notes.txt is not a picture that can be read" in said.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "notes.txt"], "notes.txt is not a picture that can be read: give a picture"),
        (["run", "half.jpg"], "half.jpg is damaged: "),
        (["run", "absent.jpg"], "absent.jpg does not exist: give a picture or a folder of them"),
        (["run"], "there is no picture to look at: python scripts/predict.py run IMAGE"),
        (["run", "empty"], "there is no picture in empty"),
        (["empty", "a.png"], "empty holds no checkpoints/best.ckpt: it is not a run, or has no completed epoch"),
        (["nowhere", "a.png"], "nowhere does not exist: give a run directory or a checkpoint file"),
        (["run", "a.png", "--top", "0"], "--top is 0, and must be a whole number of 1 or more"),
        (["run", "a.png", "--weights", "w.pth"], "--weights is for --arch, and a run has its own: leave it out"),
        (["run", "a.png", "--seed", "1"], "--seed is for --perturb: leave it out"),
        (["run", "a.png", "--out", "b.png"], "--out is for --perturb: leave it out"),
        (["run", "a.png", "--perturb", "blur"], "--perturb is 'blur', which does not exist"),
        (["--arch", "resnet19", "a.png"], "--arch is 'resnet19', which does not exist: did you mean resnet1"),
        (["--arch", "resnet18", "--weights", "w.pth", "a.png"], "--weights=w.pth does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(run, tmp_path, script, capsys, arguments, sentence):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    truncated(tmp_path / "half.jpg")
    picture(tmp_path / "a.png", 5)
    with pytest.raises(SystemExit) as stop:
        script("predict.py", *arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert not said.out


def test_without_a_run_torchvisions_network_answers_in_imagenets_names(tmp_path, script, capsys):
    torch.manual_seed(0)
    network = torchvision.models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    path = noise(tmp_path / "a.png", (300, 240))
    script("predict.py", "--arch", "resnet18", "--weights", tmp_path / "w.pth", path, "--json")
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    from PIL import Image

    with torch.no_grad():
        p = network(weights.transforms()(Image.open(path))[None]).softmax(dim=1)[0]
    best = answers(capsys)[0]["top"][0]
    assert best["class"] == weights.meta["categories"][int(p.argmax())]
    assert best["probability"] == pytest.approx(float(p.max()), abs=1e-5)


def test_a_file_that_names_imagenets_classes_gives_its_last_layer(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    names = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    save_file(state, tmp_path / "w.safetensors", {"class_names": json.dumps(names)})
    trained = load_torchvision("resnet18", str(tmp_path / "w.safetensors"))
    assert torch.equal(trained.model.get_submodule("head").weight, state["fc.weight"])


def test_a_last_layer_of_other_classes_has_no_names(tmp_path, script, capsys):
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), tmp_path / "w.pth")
    with pytest.raises(SystemExit):
        script("predict.py", "--arch", "resnet18", "--weights", tmp_path / "w.pth", picture(tmp_path / "a.png"))
    assert "has no last layer for ImageNet's 1,000 classes" in capsys.readouterr().err


def test_a_perturbed_picture_is_shown_beside_the_first_with_both_answers(run, tmp_path, script, capsys):
    path = picture(tmp_path / "a.png", 5)
    script(
        "predict.py", run, path, "--perturb", "color_jitter:brightness=0.1", "--out", tmp_path / "both.png", "--json"
    )
    (found,) = answers(capsys)
    assert found["top"] != found["perturbed"]
    assert (tmp_path / "both.png").exists()


def test_a_perturbation_is_torchvisions():
    image = torch.rand(3, 20, 20) * 255
    ours = Perturbation("gaussian_blur:kernel=5,sigma=2", seed=0)(image)
    torch.testing.assert_close(ours, F.gaussian_blur(image, [5, 5], [2.0, 2.0]))


def test_what_a_perturbation_draws_is_decided_by_the_seed_and_no_one_elses():
    image = torch.rand(3, 20, 20) * 255
    state = torch.get_rng_state()
    first, again, other = (Perturbation("gaussian_blur:kernel=5,sigma=0.1..2", seed)(image) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_perturbations_follow_one_another():
    image = torch.rand(3, 8, 8) * 255
    torch.testing.assert_close(Perturbation("flip+flip", 0)(image), image)
    assert torch.equal(Perturbation("flip+grayscale", 0)(image)[0], Perturbation("grayscale", 0)(image.flip(2))[2])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("gaussian_blur:kernal=3", "option is 'kernal', which does not exist: did you mean kernel"),
        ("gaussian_blur:5", "'5' is no option; write gaussian_blur:key=value"),
        ("gaussian_blur:kernel=4", "is refused: Kernel size value should be an odd"),
        ("gaussian_blur:kernel=wide", "'wide' is neither a number nor a range such as 0.1..2"),
        ("flip:p=1", "--perturb flip takes no options: leave out p=1"),
        ("gaussian_blur", "is refused"),
    ],
)
def test_a_perturbation_that_is_none_is_a_sentence(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Perturbation(text, seed=0)


def test_a_kernel_larger_than_the_image_is_a_sentence():
    with pytest.raises(ConfigError, match=r"can't be done to an image of \[3, 8, 8\]"):
        Perturbation("gaussian_blur:kernel=51,sigma=1", 0)(torch.zeros(3, 8, 8))


def test_a_phone_sized_photograph_is_read_at_the_networks_size(tmp_path):
    from PIL import Image

    path = tmp_path / "phone.jpg"
    Image.linear_gradient("L").resize((4000, 3000)).convert("RGB").save(path)
    assert ImageDecoder((3, 224, 224), "imagenet")(path).shape == (3, 224, 224)
