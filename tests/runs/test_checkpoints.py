"""Checkpoints: written whole, looked at when read, the newest few kept."""

import errno
import shutil

import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from holoprop.runs._checkpoints import Checkpoints, Saved


def saved(step, seed=None):
    """A checkpoint whose content differs from step to step."""
    rng = np.random.default_rng(step if seed is None else seed)
    leaves = {
        "0": rng.normal(size=(5, 4)),
        "1": rng.normal(size=(3,)).astype(np.float32),
        "2": np.asarray(step, np.int32),
        "3": rng.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
    }
    seen = {"loss": rng.normal(size=step), "residuals": {"free": rng.normal(size=step)}}
    record = {"epoch": 1, "loss": float(rng.normal()), "history": [{"a": None, "b": [0.1]}]}
    return Saved(step, {"leaves": leaves, "seen": seen}, record)


def is_same(found, expected):
    def flat(tree):
        if isinstance(tree, dict):
            return {name: flat(value) for name, value in tree.items()}
        return tree.dtype.name, tree.shape, tree.tobytes()

    return (found.step, flat(found.arrays), found.record) == (
        expected.step,
        flat(expected.arrays),
        expected.record,
    )


def refuse(sentence):
    raise AssertionError(sentence)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def test_what_was_saved_comes_back_to_the_bit(folder):
    checkpoints = Checkpoints(folder, keep=3)
    assert checkpoints.newest(refuse) is None
    for step in (1, 7, 20):
        checkpoints.save(saved(step))
        assert is_same(checkpoints.newest(refuse), saved(step))
    assert checkpoints.steps == [20, 7, 1]


@pytest.mark.parametrize("keep", [1, 2])
def test_newest_few_are_kept(folder, keep):
    checkpoints = Checkpoints(folder, keep=keep)
    for step in (9, 10, 100):
        checkpoints.save(saved(step))
    assert checkpoints.steps == [100, 10, 9][:keep]
    assert sorted(p.name for p in folder.iterdir()) == sorted(map(str, checkpoints.steps))


def test_checkpoint_of_the_same_step_is_replaced(folder):
    checkpoints = Checkpoints(folder, keep=2)
    checkpoints.save(saved(5))
    checkpoints.save(saved(5, seed=99))
    assert is_same(checkpoints.newest(refuse), saved(5, seed=99))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two checkpoints, of steps 3 and 4."""
    folder = tmp_path_factory.mktemp("pair") / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in (3, 4):
        checkpoints.save(saved(step))
    return folder


def spoilt(pair, folder, spoil):
    """What is read where one file of the newer checkpoint is spoilt, for each of its files."""
    for index in range(len(files_of(pair / "4"))):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pair, folder)
        file = files_of(folder / "4")[index]
        spoil(file)
        told = []
        yield file, Checkpoints(folder, keep=2).newest(told.append), told


def falls_back(file, found, told):
    """The one before is used, as it was written, and that is said."""
    assert is_same(found, saved(3)), file
    (sentence,) = told
    assert "checkpoints/4 is damaged (" in sentence
    assert sentence.endswith("): step 3 is next.")
    return True


def test_missing_file_is_noticed(pair, folder):
    assert all(falls_back(*seen) for seen in spoilt(pair, folder, lambda file: file.unlink()))


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.95])
def test_flipped_byte_is_noticed(pair, folder, where):
    def flip(file):
        content = bytearray(file.read_bytes())
        content[int(where * len(content))] ^= 0x10
        file.write_bytes(content)

    assert all(falls_back(*seen) for seen in spoilt(pair, folder, flip))


def test_truncated_file_is_noticed(pair, folder):
    def cut(file):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    assert all(falls_back(*seen) for seen in spoilt(pair, folder, cut))


def test_where_all_are_damaged_there_is_none(pair, folder):
    shutil.copytree(pair, folder)
    for file in files_of(folder):
        file.write_bytes(b"")
    told = []
    assert Checkpoints(folder, keep=2).newest(told.append) is None
    assert [sentence.rpartition(": ")[2] for sentence in told] == [
        "step 3 is next.",
        "no older one is there.",
    ]


def test_checkpoint_that_is_damaged_does_not_push_out_good_ones(pair, folder):
    shutil.copytree(pair, folder)
    for file in files_of(folder / "4"):
        file.write_bytes(b"")
    shutil.copytree(folder / "4", folder / "9")
    checkpoints = Checkpoints(folder, keep=1)
    # A run that goes on from step 3 comes by step 4 once more.
    checkpoints.save(saved(4))
    assert checkpoints.steps == [9, 4]
    assert is_same(checkpoints.newest(lambda sentence: None), saved(4))


def test_what_a_killed_process_has_left_is_removed(pair, folder):
    shutil.copytree(pair, folder)
    shutil.copytree(folder / "4", folder / "part")
    assert is_same(Checkpoints(folder, keep=2).newest(refuse), saved(4))
    Checkpoints(folder, keep=2).save(saved(6))
    assert sorted(p.name for p in folder.iterdir()) == ["4", "6"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: disk")],
)
def test_checkpoint_that_cannot_be_written_leaves_the_others(pair, folder, monkeypatch, error):
    shutil.copytree(pair, folder)

    def fail(self, place, *arguments, **options):
        (folder / "part" / "data").write_bytes(b"half")
        raise error

    monkeypatch.setattr(ocp.Checkpointer, "save", fail)
    with pytest.raises(OSError, match=r"No space left on device|RESOURCE_EXHAUSTED"):
        Checkpoints(folder, keep=2).save(saved(5))
    assert sorted(p.name for p in folder.iterdir()) == ["3", "4"]
    assert is_same(Checkpoints(folder, keep=2).newest(refuse), saved(4))
