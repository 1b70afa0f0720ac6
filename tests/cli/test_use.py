"""What comes out of a run is usable: load, evaluate, predict, and repositories of the hub."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from terminal import call, files, parse, refuses, write_digits, write_split

import holoprop as hp
from holoprop import runs
from holoprop.data import load_images
from holoprop.runs import _hub
from holoprop.runs._weights import weights_sha256

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")

SMALL = (
    *("--network.sizes", "784", "12", "8", "10", "--network.activation", "tanh"),
    *("--estimator", "centred", "--estimator.nudge", "0.4", "--network.weight-std", "0.1"),
    *("--free.tolerance", "1e-6", "--epochs", "2", "--validation", "0.25"),
    *("--checked-images", "0"),
)


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    answer = call("train", "--data", digits, *SMALL, "--output", folder)
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture
def mine(run):
    """A copy of the run, to be spoilt."""
    return Path(shutil.copytree(run, "mine"))


def summary_of(folder):
    return parse((folder / "summary.json").read_text())


# Load


def test_load_gives_the_network_back(run, digits):
    network = hp.load(run)
    assert weights_sha256(network) == summary_of(run)["weights_sha256"]
    assert isinstance(network.activation, hp.Tanh)
    test = load_images(digits, "test")
    state = hp.relax(network, test.images / 255.0).state
    logits = jax.vmap(network.logits)(state)
    error = np.mean(np.argmax(logits, axis=1) != test.labels)
    assert error == pytest.approx(summary_of(run)["test_error"])


def test_load_is_found_from_either_place(run):
    assert weights_sha256(hp.load(str(run))) == weights_sha256(runs.load(run))


@pytest.mark.slow
def test_load_keeps_the_precision_of_the_run(run, mine):
    single = jax.tree.map(lambda a: a.astype(np.float32), hp.load(run))
    folder = runs.RunFolder(mine)
    sha256 = folder.save_weights(single)
    assert weights_sha256(hp.load(mine)) == sha256
    assert {leaf.dtype.name for leaf in jax.tree.leaves(hp.load(mine))} == {"float32"}


def test_nothing_in_a_run_is_pickled(run):
    # What unpickles begins with this byte, or holds such arrays of objects.
    for name, content in files(run).items():
        assert not (content or b"").startswith(b"\x80"), name


@pytest.mark.parametrize("name", ["nowhere", "./no/where/at/all"])
def test_run_that_is_not_there_cannot_be_loaded(name):
    with pytest.raises(FileNotFoundError, match="there is no run at"):
        hp.load(name)


def test_run_that_has_not_ended_cannot_be_loaded(mine):
    (mine / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no weights at .*finished run"):
        hp.load(mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochz": 3}, "epochz is no setting of TrainConfig; did you mean epochs"),
        ({"epochs": "three"}, "epochs is 'three', which it cannot be"),
        ({"network": {"type": "Mlpp"}}, "network is of type 'Mlpp', and must be one of"),
        ({"free": 3}, "free is 3, and must be an object"),
    ],
)
def test_edited_configuration_is_refused_by_name(mine, change, message):
    content = parse((mine / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=message):
        hp.load(mine)


def test_missing_setting_is_refused_by_name(mine):
    content = parse((mine / "config.json").read_text())
    del content["network"]["cost"]
    (mine / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"network\.cost is missing"):
        hp.load(mine)


def test_edited_activation_does_not_go_with_the_weights(mine):
    content = parse((mine / "config.json").read_text())
    content["network"]["activation"]["type"] = "ShiftedSigmoid"
    (mine / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="activation is Tanh, but this one's is ShiftedSigmoid"):
        hp.load(mine)


# Evaluate


def test_evaluate_repeats_the_test_of_the_run(run):
    answer = call("evaluate", run)
    assert (answer.code, answer.err) == (0, "")
    summary = summary_of(run)
    expected = (
        f"error {100 * summary['test_error']:.2f} %  "
        f"top-5 error {100 * summary['test_top5_error']:.2f} %  loss {summary['test_loss']:.4f}"
    )
    assert answer.out == f"test  {expected}\n"


def test_evaluate_takes_other_data_and_splits(run, digits):
    write_digits(Path("other"), train=30, test=10)
    found = runs.evaluate(run, data="other", split="train")
    images = load_images("other", "train")
    state = hp.relax(hp.load(run), images.images / 255.0).state
    logits = np.asarray(jax.vmap(hp.load(run).logits)(state))
    assert found.error == pytest.approx(np.mean(np.argmax(logits, axis=1) != images.labels))
    answer = call("evaluate", run, "--data", "other", "--split", "train")
    assert answer.out.startswith(f"train  error {100 * found.error:.2f} %")


def test_evaluate_maps_classes_by_name(run):
    subset = load_images(None, "test")
    images, labels = subset.images[:20], subset.labels[:20]
    names = [str(n) for n in reversed(range(10))]
    write_split(Path("same/test.parquet"), images, labels, names=names[::-1])
    write_split(Path("swapped/test.parquet"), images, 9 - labels, names=names)
    answers = [call("evaluate", run, "--data", name) for name in ("same", "swapped")]
    assert answers[0].code == 0
    assert answers[0] == answers[1]


def test_evaluate_refuses_data_that_do_not_fit(run):
    subset = load_images(None, "test")
    names = [str(n) for n in range(10)]
    names[subset.labels[0]] = "eleven"
    write_split(Path("other/test.parquet"), subset.images[:20], subset.labels[:20], names=names)
    refuses("evaluate", run, "--data", "other", words=("class 'eleven'", "does not have"))
    blank = np.zeros((20, 8, 8), np.uint8)
    write_split(Path("small/test.parquet"), blank, np.arange(20) % 10)
    refuses("evaluate", run, "--data", "small", words=("(8, 8)", "784"))
    refuses("evaluate", run, "--data", "./nowhere", words=("does not exist",))
    refuses("evaluate", run, "--split", "dev", words=("no split 'dev'", "test"))


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_commands_name_what_is_missing(command):
    refuses(command, words=("RUN", "--help"))
    rest = ("image.png",) if command == "predict" else ()
    refuses(command, "./nowhere", *rest, words=("no run at", "nowhere"))
    assert call(command, "--help").code == 0


# Predict


def test_predict_names_the_classes(run, digits):
    test = load_images(digits, "test")
    logits = jax.vmap(hp.load(run).logits)(hp.relax(hp.load(run), test.images / 255.0).state)
    expected = np.argmax(np.asarray(logits), axis=1)
    paths = [Path(f"{index}.png") for index in range(6)]
    for path, image in zip(paths, test.images, strict=False):
        Image.fromarray(image).save(path)
    found = runs.predict(run, paths)
    assert [p.label for p in found] == [str(label) for label in expected[:6]]
    assert [p.file for p in found] == paths
    assert all(p.settled for p in found)
    answer = call("predict", run, *paths)
    assert answer.out.splitlines() == [f"{p.file}  {p.label}" for p in found]


def test_predict_takes_colour_for_grey(run, digits):
    image = Image.fromarray(load_images(digits, "test").images[0])
    image.save("grey.png")
    image.convert("RGB").save("colour.png")
    grey, colour = runs.predict(run, ["grey.png", "colour.png"])
    assert grey.label == colour.label


def test_predict_refuses_what_is_no_image(run):
    Path("notes.png").write_text("mine")
    Image.new("L", (8, 9)).save("small.png")
    refuses("predict", run, "nowhere.png", words=("no image nowhere.png",))
    refuses("predict", run, "notes.png", words=("notes.png cannot be read as an image",))
    refuses("predict", run, "small.png", words=("8 wide and 9 high", "28 wide", "resize"))


# Inputs as the run had them


@pytest.fixture(scope="module", params=[pytest.param("ep", marks=pytest.mark.slow), "bp"])
def convolutional(request, digits, tmp_path_factory):
    """A run whose images are normalised and have an axis for their channel."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    phases = ("--estimator", "centred", "--estimator.nudge", "0.4", "--free.tolerance", "1e-6")
    answer = call(
        *("train", "--data", digits, "--output", folder, "--method", request.param),
        *("--network", "vgg", "--network.channels", "2", "--network.input-shape", "28", "28", "1"),
        *("--inputs.mean", "0.3", "--inputs.std", "0.2", "--inputs.flip", "--epochs", "1"),
        *("--validation", "0.25", *(phases if request.param == "ep" else ())),
    )
    assert answer.code == 0, answer.err
    return folder


def predicted(run, images):
    """Classes by the network that is loaded, and inputs and layers written out."""
    network = hp.load(run)
    x = (images[..., None] / 255.0 - 0.3) / 0.2
    (coupling,) = network.couplings
    hidden = jax.vmap(lambda one: network.activation(coupling.drive(coupling.linear(one))))(x)
    # With one hidden layer under the readout the equilibrium is this pass, too.
    logits = hidden.reshape(len(x), -1) @ network.readout.weight.T + network.readout.bias
    return np.argmax(np.asarray(logits), axis=1)


def test_inputs_are_prepared_as_in_the_run(convolutional, digits):
    test = load_images(digits, "test")
    classes = predicted(convolutional, test.images)
    error = np.mean(classes != test.labels)
    assert error == pytest.approx(summary_of(convolutional)["test_error"])
    assert runs.evaluate(convolutional).error == pytest.approx(error)
    Image.fromarray(test.images[0]).save("0.png")
    (found,) = runs.predict(convolutional, ["0.png"])
    assert (found.label, found.settled) == (str(classes[0]), True)


# The card and the hub


def test_card_says_what_it_is(run):
    card = (run / "README.md").read_text()
    summary = summary_of(run)
    assert card.startswith("---\nlibrary_name: holoprop\n")
    for words in ("Mlp", "(28, 28)", "10 classes", "Centred", "2 epochs", "holoprop.load"):
        assert words in card
    assert f"| test | {100 * summary['test_error']:.2f} % | {summary['test_loss']:.4f} |" in card
    assert summary["weights_sha256"] in card


class Hub:
    """A hub in a folder."""

    def __init__(self, folder):
        self.folder, self.said = folder, []

    def create_repo(self, name, *, private, exist_ok):
        self.said.append((name, private, exist_ok))
        (self.folder / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        for name in allow_patterns:
            shutil.copy(Path(folder_path) / name, self.folder / repo_id / name)

    def snapshot_download(self, name, *, allow_patterns):
        if not (self.folder / name).is_dir():
            raise OSError("404 Not Found\nRequest ID: 1")
        return str(self.folder / name)


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    hub = Hub(tmp_path_factory.mktemp("hub"))
    monkeypatch.setattr(_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_run_goes_to_the_hub_and_comes_back(run, hub):
    answer = call("push", run, "someone/digits", "--private")
    assert (answer.code, answer.err) == (0, "")
    assert hub.said == [("someone/digits", True, True)]
    assert set(files(hub.folder / "someone/digits")) == set(files(run))
    assert weights_sha256(hp.load("someone/digits")) == summary_of(run)["weights_sha256"]
    assert call("evaluate", "someone/digits").out == call("evaluate", run).out


def test_only_a_runs_own_files_go_to_the_hub(mine, hub):
    (mine / "notes.txt").write_text("mine")
    runs.push(mine, "someone/digits")
    assert "notes.txt" not in files(hub.folder / "someone/digits")


def test_what_the_hub_cannot_do_is_one_sentence(run, mine, hub, monkeypatch):
    words = ("no run at someone/else", "404 Not Found", "correct the path or the name")
    refuses("evaluate", "someone/else", words=words)
    for name in ("digits", "a/b/c", "some one/digits", ""):
        refuses("push", run, name, words=("is no name of a repository", "owner/name"))
    (mine / "summary.json").unlink()
    refuses("push", mine, "someone/digits", words=("no finished run",))

    def refuse(*arguments, **options):
        raise RuntimeError("401 Client Error.\n\nInvalid username or password.")

    monkeypatch.setattr(hub, "create_repo", refuse)
    refuses("push", run, "someone/digits", words=("401 Client Error", "logged in"))


def test_code_of_others_is_not_run(run, hub):
    runs.push(run, "someone/digits")
    config = hub.folder / "someone/digits/config.json"
    content = parse(config.read_text())
    content["network"] = {"type": "Custom", "factory": "own:network"}
    config.write_text(json.dumps(content))
    Path("own.py").write_text("raise SystemExit('run')")
    refuses("evaluate", "someone/digits", words=("code of its author's own", "own:network"))
