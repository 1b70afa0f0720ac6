"""Settings on the command line: their ranges, and what they exclude."""

import pytest
from terminal import SMALL, refuses

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


OUT_OF_RANGE = [
    ("--epochs", "0"),
    ("--epochs", "-1"),
    ("--batch-size", "0"),
    ("--batch-size", "121"),
    ("--seed", "-1"),
    ("--validation", "-0.1"),
    ("--validation", "1.0"),
    ("--validation", "nan"),
    ("--optimiser.learning-rate", "0.0"),
    ("--optimiser.learning-rate", "-0.5"),
    ("--optimiser.learning-rate", "inf"),
    ("--optimiser.learning-rate", "nan"),
    ("--optimiser.momentum", "1.0"),
    ("--optimiser.momentum", "-0.1"),
    ("--optimiser.weight-decay", "-0.1"),
    ("--optimiser.weight-decay", "inf"),
    ("--network.weight-std", "-1.0"),
    ("--network.weight-std", "nan"),
    ("--estimator.points", "1"),
    ("--estimator.radius", "0.0"),
    ("--estimator.radius", "-0.4"),
    ("--estimator.radius", "inf"),
    ("--free.tolerance", "0.0"),
    ("--free.tolerance", "nan"),
    ("--nudged.tolerance", "-0.1"),
    ("--free.max-steps", "0"),
    ("--free.steps", "0"),
    ("--nudged.steps", "-3"),
    ("--free.noise", "-0.1"),
    ("--free.depth", "1"),
    ("--nudged.depth", "-1"),
]


@pytest.mark.parametrize(("option", "value"), OUT_OF_RANGE)
def test_number_out_of_range_is_refused(digits, option, value):
    # Where a tolerance counts, there is no fixed number of steps.
    fixed = () if option.endswith(".steps") else ("--free.steps=None", "--nudged.steps=None")
    mixed = ("--free", "anderson", "--nudged", "anderson") if option.endswith(".depth") else ()
    words = (option.split(".")[-1].lstrip("-"), value)
    refuses("train", "--data", digits, *SMALL, *fixed, *mixed, f"{option}={value}", words=words)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("online", "--estimator.points=1"),
        ("online", "--estimator.radius=0.0"),
        ("online", "--estimator.steps-per-point=0"),
        ("online", "--estimator.periods=0"),
        ("online", "--estimator.warmup-periods=-1"),
        ("unrolled", "--estimator.steps=0"),
        ("centred", "--estimator.nudge=0.0"),
        ("one-sided", "--estimator.nudge=nan"),
    ],
)
def test_number_out_of_an_estimators_range_is_refused(digits, name, option):
    arguments = ("--data", digits, *SMALL, "--estimator", name, option)
    words = tuple(option.removeprefix("--estimator.").split("="))
    refuses("train", *arguments, words=words)


@pytest.mark.parametrize(
    "sizes", [("784",), ("784", "10"), ("784", "0", "10"), ("784", "-3", "10")]
)
def test_sizes_of_no_network_are_refused(digits, sizes):
    words = ("sizes", ", ".join(sizes))
    refuses("train", "--data", digits, *SMALL, "--network.sizes", *sizes, words=words)


@pytest.mark.parametrize("phase", ["free", "nudged"])
def test_noise_without_fixed_steps_is_refused(digits, phase):
    words = ("noise", "0.04", "steps")
    refuses("train", "--data", digits, f"--{phase}.noise", "0.04", words=words)


@pytest.mark.parametrize("name", ["relu", "clipped-relu"])
@pytest.mark.parametrize("estimator", [("holomorphic", "--estimator.points=10"), ("online",)])
def test_non_holomorphic_activation_is_refused(digits, name, estimator):
    part = {"relu": "ReLU", "clipped-relu": "ClippedReLU"}[name]
    words = ("holomorphic", part, "points=2", "DSiLU")
    refuses(
        *("train", "--data", digits, *SMALL, "--network.activation", name),
        *("--estimator", *estimator),
        words=words,
    )
