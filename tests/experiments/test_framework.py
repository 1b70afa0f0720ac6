"""Parts, folders, pictures and verdicts, of any experiment."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from toys import Squares, StopError, squares

from holoprop.experiments import Claim, Parts, read_numbers, redraw, reproduce
from holoprop.experiments._parts import config_hash
from holoprop.experiments._record import comparison, rounded, write_numbers


def run(experiment, output, scale="smoke", **options):
    return reproduce(experiment, scale=scale, output=output, **options)


# Parts


@pytest.mark.parametrize("stop_at", [0, 2, 4])
def test_interrupted_run_goes_on_with_the_same_bits(tmp_path, stop_at):
    whole = run(squares(), tmp_path / "whole")
    with pytest.raises(StopError):
        run(squares(stop_at=stop_at), tmp_path / "halves")
    seen = []
    halves = run(squares(seen=seen), tmp_path / "halves")
    assert seen == list(range(stop_at, 5))
    for name in ("numbers.json", "comparison.md", "squares.svg"):
        assert (whole.folder / name).read_bytes() == (halves.folder / name).read_bytes(), name


def test_second_run_computes_nothing(tmp_path):
    seen, kept = [], []
    for _ in range(2):
        run(squares(seen=seen), tmp_path, on_part=lambda part: kept.append(part.kept))
    assert seen == list(range(5))
    assert kept == 5 * [False] + 5 * [True]


def test_another_configuration_has_parts_of_its_own(tmp_path):
    seen = []
    run(squares(seen=seen), tmp_path)
    run(squares(seen=seen), tmp_path, scale="quick")
    assert seen == [*range(5), *range(7)]


@pytest.mark.parametrize("change", [{"count": 6}, {"seed": 1}])
def test_hash_tells_configurations_apart(change):
    assert config_hash(Squares()) == config_hash(Squares())
    assert config_hash(Squares()) != config_hash(dataclasses.replace(Squares(), **change))


def test_smaller_configurations_share_parts(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": np.arange(3)}

    for config in (Squares(), Squares(seed=5)):
        parts = Parts(tmp_path, config).under(Squares(seed=9))
        assert parts.run("shared", make)["a"].tolist() == [0, 1, 2]
    assert made == [1]


def test_interruption_in_a_part_leaves_no_half_of_it(tmp_path):
    def stop():
        raise StopError

    with pytest.raises(StopError):
        Parts(tmp_path, Squares()).run("part", stop)
    assert list(tmp_path.rglob("*.npz")) == []


# Numbers


@given(
    st.dictionaries(
        st.text("abc_", min_size=1, max_size=4),
        st.one_of(
            npst.arrays(
                st.sampled_from([np.float64, np.complex128]),
                npst.array_shapes(max_dims=3, max_side=3),
                elements={"allow_infinity": False},
            ),
            npst.arrays(st.sampled_from([np.int64, np.bool_]), npst.array_shapes(max_dims=2)),
        ),
        max_size=3,
    )
)
def test_numbers_come_back_to_the_bit(tmp_path_factory, numbers):
    file = tmp_path_factory.mktemp("numbers") / "numbers.json"
    write_numbers(file, numbers)
    found = read_numbers(file)
    assert list(found) == list(numbers)
    for name, value in numbers.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("value", [1.5, 3, True, 2.5 - 1j, "word"])
def test_single_numbers_and_words_come_back_as_arrays(tmp_path, value):
    write_numbers(tmp_path / "n.json", {"a": np.array(value)})
    found = read_numbers(tmp_path / "n.json")["a"]
    assert isinstance(found, np.ndarray)
    assert found.shape == ()
    assert found.item() == value


def test_numbers_are_standard_json(tmp_path):
    write_numbers(tmp_path / "n.json", {"a": np.array([np.inf, np.nan, 1.0]), "w": np.array("x")})

    def refuse(word):
        raise AssertionError(word)

    content = json.loads((tmp_path / "n.json").read_text(), parse_constant=refuse)
    assert content == {"a": [None, None, 1.0], "w": "x"}
    assert str(read_numbers(tmp_path / "n.json")["w"]) == "x"


@given(st.floats(1e-15, 1e3))
def test_rounding_keeps_four_digits(value):
    assert abs(rounded(np.array([value]))[0] - value) <= 0.5001e-3 * value


# Pictures and verdicts


def test_folder_holds_what_is_promised(tmp_path):
    done = run(squares(), tmp_path)
    names = {file.name for file in done.folder.iterdir()}
    assert names == {"squares.png", "squares.svg", "numbers.json", "config.json", "comparison.md"}
    config = json.loads((done.folder / "config.json").read_text())
    assert config["config"] == {"count": 5, "seed": 0}
    assert config["scale"] == "smoke"
    assert config["hash"] == config_hash(Squares())


def test_picture_is_drawn_again_without_computing(tmp_path):
    experiment = squares()
    done = run(experiment, tmp_path)
    before = {file.name: file.read_bytes() for file in done.folder.iterdir()}
    for name in ("squares.png", "squares.svg", "comparison.md"):
        (done.folder / name).unlink()

    def refuse(config, parts):
        raise AssertionError("computed")

    redraw(dataclasses.replace(experiment, compute=refuse), Squares(), done.folder)
    assert {file.name: file.read_bytes() for file in done.folder.iterdir()} == before


@pytest.mark.parametrize(("limit", "word"), [(100.0, "| yes |"), (1.0, "| **no** |")])
def test_comparison_says_what_holds(tmp_path, limit, word):
    done = run(squares(limit=limit), tmp_path)
    page = (done.folder / "comparison.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| the squares"))
    assert row.endswith(word)
    ours = 16 * np.sqrt(np.pi)
    assert f"| 1.5 | {ours:.4g} | {ours - 1.5:.4g} |" in row
    assert ("1 of 1 claims hold" in page) == (limit > 1)


def test_claim_without_a_number_of_the_paper_has_no_difference():
    claim = Claim("it falls", 2.0, True)
    assert claim.difference is None
    assert "| it falls |  | 2 |  | yes |" in comparison("Title", "Caption.", [claim])


def test_number_that_claims_nothing_has_no_verdict():
    claims = [Claim("it falls", 2.0, True), Claim("its height", 3.0, None, 2.5)]
    page = comparison("Title", "Caption.", claims)
    assert "1 of 1 claims hold" in page
    assert "| its height | 2.5 | 3 | 0.5 |  |" in page
    assert claims[1].verdict(no="NO") == ""


def test_parts_tell_how_far_one_has_come(tmp_path):
    seen = []
    parts = Parts(tmp_path, Squares(), seen.append)
    parts.run("long", lambda: parts.tell("long, epochs", 1, 2) or {"a": np.array(1)})
    assert [(s.label, s.done, s.total, s.kept) for s in seen] == [
        ("long, epochs", 1, 2, False),
        ("long", 1, 1, False),
    ]


def test_unknown_scale_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"scale is 'huge'.*smoke, quick"):
        run(squares(), tmp_path / "new", scale="huge")
    assert not (tmp_path / "new").exists()
