"""What can be chosen on the command line, and what is kept of a preset."""

import inspect

import pytest

import holoprop as hp
from holoprop.cli._drafts import Draft, choices, option_name
from holoprop.cli._parse import parse
from holoprop.runs import (
    AbstractNetwork,
    Custom,
    InputConfig,
    Mlp,
    OptimiserConfig,
    TrainConfig,
    Vgg,
    presets,
)

MIXED = hp.Anderson(hp.Sequential(tolerance=1e-3, max_steps=60), depth=5)
PRESET = TrainConfig(epochs=8, free=MIXED, nudged=hp.Synchronous(steps=7, noise=0.1))


def configured(*arguments, preset=PRESET):
    """The configuration that a preset and some arguments come to."""
    draft = parse(Draft.of(preset), list(map(str, arguments)), prog="test", description="")
    return draft.build()


@pytest.mark.parametrize("name", presets())
def test_draft_builds_what_it_was_made_of(name):
    config = presets()[name].config
    assert Draft.of(config).build() == config
    assert configured(preset=config) == config


def test_single_settings_are_changed_without_naming_classes():
    config = configured(
        "--estimator.points", 4, "--epochs", 5, "--free.tolerance", 1e-2, "--free.depth", 3
    )
    assert config.estimator == hp.Holomorphic(0.4, 4)
    assert config.free == hp.Anderson(hp.Sequential(tolerance=1e-2, max_steps=60), depth=3)
    assert (config.epochs, config.nudged) == (5, PRESET.nudged)


# Choices


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (hp.OneSided, "one-sided"),
        (hp.Holomorphic, "holomorphic"),
        (hp.GradientFlow, "gradient-flow"),
        (hp.ShiftedSigmoid, "shifted-sigmoid"),
        (hp.DSiLU, "dsilu"),
        (hp.ClippedReLU, "clipped-relu"),
        (hp.CrossEntropy, "cross-entropy"),
        (Mlp, "mlp"),
    ],
)
def test_name_of_a_class(cls, name):
    assert option_name(cls) == name


@pytest.mark.parametrize(
    "base",
    [hp.AbstractEstimator, hp.AbstractRelaxation, hp.nn.AbstractActivation, hp.nn.AbstractCost],
)
def test_every_exported_final_class_can_be_chosen(base):
    final = {
        thing
        for name in hp.__all__
        if inspect.isclass(thing := getattr(hp, name))
        and issubclass(thing, base)
        and not name.startswith("Abstract")
    }
    assert set(choices(TrainConfig, base).values()) == final
    assert len(final) > 1


def test_networks_can_be_chosen():
    assert choices(TrainConfig, AbstractNetwork) == {"custom": Custom, "mlp": Mlp, "vgg": Vgg}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("holomorphic", "--estimator.points", 6), hp.Holomorphic(0.4, 6)),
        (
            ("online", "--estimator.steps-per-point", 7, "--estimator.periods", 2),
            hp.Online(0.4, 10, steps_per_point=7, periods=2),
        ),
        (("centred", "--estimator.nudge", 0.3), hp.Centred(0.3)),
        (("one-sided", "--estimator.nudge", -0.3), hp.OneSided(-0.3)),
        (("implicit",), hp.Implicit()),
        (("unrolled", "--estimator.steps", 9), hp.Unrolled(9)),
    ],
)
def test_estimator_is_chosen_by_name_and_keeps_what_it_has_too(arguments, expected):
    assert configured("--estimator", *arguments).estimator == expected


@pytest.mark.parametrize("name", ["holomorphic", "centred", "one-sided"])
def test_rule_is_named_by_its_value(name):
    nudge = () if name == "holomorphic" else ("--estimator.nudge", 0.1)
    rule = configured("--estimator", name, *nudge, "--estimator.rule", "fourier").estimator.rule
    assert rule.value == "fourier"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Tolerance and largest number of steps are the preset's.
        (("sequential",), hp.Sequential(tolerance=1e-3, max_steps=60)),
        (("synchronous", "--free.steps", 7), hp.Synchronous(steps=7, max_steps=60)),
        (
            ("gradient-flow", "--free.dt", 0.5, "--free.noise", 0.1, "--free.steps", 7),
            hp.GradientFlow(0.5, steps=7, noise=0.1, max_steps=60),
        ),
        (("sequential", "--free.tolerance", "auto"), hp.Sequential(tolerance="auto", max_steps=60)),
        (("sequential", "--free.tolerance", "None"), hp.Sequential(max_steps=60)),
        (
            ("sequential", "--free.precision", "bfloat16"),
            hp.Sequential(tolerance=1e-3, max_steps=60, precision="bfloat16"),
        ),
        (
            ("anderson", "--free.inner", "synchronous"),
            hp.Anderson(hp.Synchronous(tolerance=1e-3, max_steps=60)),
        ),
    ],
)
def test_relaxation_is_chosen_by_name_and_keeps_what_it_has_too(arguments, expected):
    assert configured("--free", *arguments).free == expected


def test_relaxation_is_wrapped_as_it_is():
    assert configured("--nudged", "anderson").nudged == hp.Anderson(PRESET.nudged)


def test_last_of_several_values_counts():
    config = configured("--free", "synchronous", "--free", "sequential", "--free=sequential")
    assert isinstance(config.free, hp.Sequential)


def test_steps_and_tolerance_replace_each_other():
    assert configured("--free.steps", 7).free.inner == hp.Sequential(steps=7, max_steps=60)
    by_tolerance = configured("--nudged.tolerance=0.1", "--nudged.noise=0").nudged
    assert by_tolerance == hp.Synchronous(tolerance=0.1)
    with pytest.raises(ValueError, match=r"^--free\.steps=7 and tolerance=0\.1 exclude"):
        configured("--free.steps", 7, "--free.tolerance", 0.1)


def test_activation_and_cost_are_chosen_by_name():
    config = configured("--network.activation", "tanh", "--network.cost", "squared-error")
    assert config.network == Mlp(activation=hp.Tanh(), cost=hp.SquaredError())


def test_energy_of_ones_own_is_named_by_its_factory():
    config = configured("--network", "custom", "--network.factory", "zoo:Circuit.init")
    assert config.network == Custom("zoo:Circuit.init")


def test_energy_of_ones_own_is_named_in_short():
    for arguments in (("--network", "zoo:Circuit.init"), ("--network=zoo:Circuit.init",)):
        assert configured(*arguments).network == Custom("zoo:Circuit.init")


def test_vgg_takes_all_arguments_of_the_library():
    arguments = inspect.signature(hp.vgg).parameters
    assert set(inspect.signature(Vgg).parameters) == set(arguments) - {"key"}
    found = configured(
        *("--network", "vgg", "--network.channels", 4, 8, "--network.input-shape", 8, 8, 1),
        *("--network.padding", 1, 0, "--network.pool", "True", "False", "--network.classes", 5),
        *("--network.pooling", "softmax-pool", "--network.pooling.temperature", 3),
        *("--network.activation", "tanh", "--network.weight-std", 0.1),
    ).network
    assert found == Vgg(
        channels=(4, 8),
        input_shape=(8, 8, 1),
        padding=(1, 0),
        pool=(True, False),
        classes=5,
        pooling=hp.SoftmaxPool(2, 3.0),
        activation=hp.Tanh(),
        weight_std=0.1,
    )


def test_pooling_is_left_open_or_chosen_by_name():
    assert configured("--network", "vgg").network == Vgg(activation=hp.ShiftedSigmoid())
    chosen = configured("--network", "vgg", "--network.pooling", "max-pool").network
    assert chosen.pooling == hp.MaxPool(2)


# The optimiser and the inputs


def test_optimiser_is_named_in_short():
    for arguments in (("--optimiser", "adam"), ("--optimiser=adam",), ("--optimiser.name", "adam")):
        assert configured(*arguments).optimiser == OptimiserConfig(name="adam")


def test_rates_of_layers_and_of_all_replace_each_other():
    rates = ("--optimiser.learning-rates", 0.25, 0.15, 0.1)
    by_layer = configured(*rates).optimiser
    assert by_layer == OptimiserConfig(learning_rates=(0.25, 0.15, 0.1))
    cifar = presets()["cifar10-deep-n2"].config
    found = configured("--optimiser.learning-rate", 0.1, preset=cifar).optimiser
    assert (found.learning_rate, found.learning_rates) == (0.1, None)
    assert found.weight_decays == cifar.optimiser.weight_decays
    found = configured("--optimiser.weight-decay", 0, preset=cifar).optimiser
    assert (found.weight_decay, found.weight_decays) == (0.0, None)
    with pytest.raises(ValueError, match=r"^--optimiser\.learning-rates=.* exclude each other"):
        configured(*rates, "--optimiser.learning-rate", 0.1)


def test_inputs_are_set_by_channel():
    found = configured("--inputs.mean", 0.1, 0.2, 0.3, "--inputs.flip", "--inputs.pad", 2).inputs
    assert found == InputConfig(mean=(0.1, 0.2, 0.3), flip=True, pad=2)


# The baseline


def test_backpropagation_is_a_method_without_phases():
    found = configured("--method", "bp", "--network.activation", "relu")
    assert found == TrainConfig(epochs=8, method="bp", network=Mlp(activation=hp.ReLU()))
    assert (found.estimator, found.free, found.nudged) == (None, None, None)


def test_equilibrium_propagation_comes_back_with_its_defaults():
    bp = presets()["cifar10-bp"].config
    found = configured("--method", "ep", "--estimator.points", 2, preset=bp)
    assert found.estimator == hp.Holomorphic(0.4, 2)
    assert (found.free, found.nudged) == (TrainConfig().free, TrainConfig().nudged)
    assert configured(preset=bp) == bp


@pytest.mark.parametrize(
    "arguments",
    [
        ("--free", "sequential"),
        ("--free.tolerance", 0.1),
        ("--free.tolerance=0.1",),
        ("--nudged=synchronous",),
        ("--nudged.steps", 3),
        ("--estimator", "centred"),
        ("--estimator.points", 4),
    ],
)
@pytest.mark.parametrize("preset", ["mnist-hep", "cifar10-bp"])
def test_what_equilibria_alone_have_is_refused_by_name(preset, arguments):
    option = arguments[0].partition("=")[0].replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"^{option} does not apply to --method bp: leave it out"):
        configured("--method", "bp", *arguments, preset=presets()[preset].config)


# What cannot be understood


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epoch", 3), r"unknown option --epoch; did you mean --epochs"),
        (("--estimator.point", 3), r"--estimator\.point; did you mean --estimator\.points"),
        (("--radius", 0.3), r"unknown option --radius; did you mean --estimator\.radius"),
        (("--zzz",), r"unknown option --zzz$"),
        (("--estimator.periods", 3), r"--estimator\.periods is an option of --estimator online"),
        (("--free.dt", 3), r"--free\.dt is an option of --free gradient-flow"),
        (("--nudged.depth", 3), r"--nudged\.depth is an option of --nudged anderson"),
        (("--network.factory", "a:b"), r"--network\.factory is an option of --network custom"),
        (
            ("--network", "custom", "--network.sizes", 3),
            r"--network\.sizes is an option of --network mlp",
        ),
        (("--estimator", "centred"), r"--estimator\.nudge must be given"),
        (("--free.inner", "anderson"), r"--free\.inner is 'anderson', but must be one of .*flow"),
        (("--epochs",), r"--epochs needs a value"),
        (("--scal", "small"), r"unknown option --scal; did you mean --scale"),
        (("--confg", "x"), r"unknown option --confg; did you mean --config"),
        (("--optimiser", "adm"), r"--optimiser\.name is 'adm', but .*; did you mean adam"),
        (("--estimator", "holomorph"), r"but must be one of .*; did you mean holomorphic"),
        (("--method", "bpp"), r"--method is 'bpp', but must be one of ep, bp; did you mean bp"),
        (
            ("--network", "vgg", "--network.pooling.window", 3),
            r"--network\.pooling\.window is an option of --network\.pooling",
        ),
        (("word",), r"'word' is one argument too many"),
    ],
)
def test_what_cannot_be_understood_is_said(arguments, words):
    with pytest.raises(ValueError, match=words):
        configured(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--estimator.radius", 0), r"^--estimator\.radius must be .*; got 0\.0"),
        (("--nudged.noise", -1), r"^--nudged\.noise must be .*; got -1\.0"),
        (("--free.max-steps", 0), r"^--free\.max-steps must be .*; got 0"),
        (("--optimiser.learning-rate", 0), r"^--optimiser\.learning-rate must be .*; got 0\.0"),
        (("--batch-size", 0), r"^--batch-size must be .*; got 0"),
    ],
)
def test_value_out_of_range_is_said_of_its_option(arguments, words):
    with pytest.raises(ValueError, match=words):
        configured(*arguments)
