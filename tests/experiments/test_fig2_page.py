"""The page of Figure 2 in a browser: its numbers are the library's, and it follows the hand."""

import base64
import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from chromium import opened
from matplotlib.image import imread

import holoprop as hp
from holoprop import experiments
from holoprop.experiments._fig2_numbers import Fig2, exported
from holoprop.experiments._fig2_page import page
from holoprop.experiments._maps import SETTLED
from holoprop.experiments._toy import circle, toy

GALLERY = Path(__file__).parents[2] / "docs" / "gallery" / "fig2" / "interactive.html"
PARTS = Path(experiments.__file__).parent / "fig2_page"
CONFIG = Fig2(map_points=61)
AXIS = np.linspace(-1.5, 1.5, CONFIG.map_points)
NUDGES = AXIS + 1j * AXIS[:, None]
# Unlike below the axis, so that a map that stands on its head is seen: 1 outside of a disc.
MAP = np.where(np.abs(NUDGES + 0.6j) < 1.5, 1e-16, 1.0)
FRONTIER = 0.9


@pytest.fixture(scope="module")
def example():
    return toy(1)


@pytest.fixture(scope="module")
def reference(example):
    """The implicit gradient."""
    _, grads = hp.value_and_grad(
        example.network,
        example.x,
        example.label,
        estimator=hp.Implicit(),
        free=hp.Synchronous(steps=CONFIG.map_steps),
    )
    return grads


@pytest.fixture(scope="module")
def file(example, tmp_path_factory):
    """The page of a network, with a map that is made up."""
    numbers = exported(CONFIG, example)
    numbers |= {"seed": np.array(1), "units": np.array([1, 2]), "map": MAP}
    path = tmp_path_factory.mktemp("page") / "interactive.html"
    path.write_text(page(CONFIG, numbers), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(file, tmp_path_factory):
    with opened(file, tmp_path_factory.mktemp("browser")) as browser:
        browser.resize(1200, 1300)
        yield browser


@pytest.fixture
def shown(browser):
    """The page at radius 0.5 and N = 8; nothing may have been complained of when the test ends."""
    browser.evaluate("setting.points = 8; setRadius(0.5)")
    yield browser
    assert browser.complaints == []


def data_of(file):
    (text,) = re.findall(r'id="data">(.*?)</script>', file.read_text(encoding="utf-8"), re.S)
    return json.loads(text)


def number(browser, name):
    """All digits of a number that the page shows, or None where it shows none."""
    title = browser.evaluate(f"element('{name}').title")
    return float(title) if title else None


# What stands in it


def test_page_needs_nothing_else(file):
    text = file.read_text(encoding="utf-8")
    assert "{{" not in text.replace("${{", "")
    assert len(text) < 100_000
    assert re.findall(r'(?:src|href)="([^"$]*)"', text) == ["data:,"]
    # Nor could it fetch anything if it tried.
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|@import|fetch\(|XMLHttpRequest|import\(", text)


def test_map_is_the_residual_to_half_a_colour(file):
    data = data_of(file)["map"]
    levels = np.frombuffer(base64.b64decode(data["levels"]), np.uint8)
    side = CONFIG.map_points
    assert (data["points"], data["from"], data["to"]) == (side, -1.5, 1.5)
    found = 16 * (levels.reshape(side, side) / 255 - 1)
    np.testing.assert_allclose(found, np.log10(MAP), atol=8.01 / 255)
    assert data_of(file)["frontier"] == pytest.approx(FRONTIER, abs=0.06)


def test_large_map_is_thinned_and_keeps_its_places(example):
    points = 1000
    axis = np.linspace(-1.5, 1.5, points)
    numbers = exported(CONFIG, example) | {"seed": np.array(1), "units": np.array([1, 2])}
    ramp = np.broadcast_to(10.0 ** (5 * (axis - 1.5)), (points, points))
    text = page(Fig2(map_points=points), numbers | {"map": ramp})
    assert len(text) < 300_000
    (content,) = re.findall(r'id="data">(.*?)</script>', text, re.S)
    data = json.loads(content)["map"]
    side = data["points"]
    assert side <= 301
    levels = np.frombuffer(base64.b64decode(data["levels"]), np.uint8).reshape(side, side)
    places = np.linspace(data["from"], data["to"], side)
    np.testing.assert_allclose(16 * (levels[7] / 255 - 1), 5 * (places - 1.5), atol=8.01 / 255)


def test_page_of_the_gallery_is_made_of_the_present_parts():
    text = GALLERY.read_text(encoding="utf-8")
    assert len(text) < 300_000
    parts = {file.name: file.read_text(encoding="utf-8") for file in PARTS.iterdir()}
    # What stands between the parts is a part itself.
    between = re.split(r"\{\{[\w.]+\}\}", parts.pop("page.html"))
    assert [part for part in (*between, *parts.values()) if part not in text] == []


# Its numbers


def by_library(example, radius, points):
    schedule = hp.Synchronous(steps=CONFIG.map_steps)
    (_, aux), grads = hp.value_and_grad(
        example.network,
        example.x,
        example.label,
        # An array, so that one program serves all radii.
        estimator=hp.Holomorphic(jnp.asarray(radius), points, form=hp.StateForm.PLAIN),
        free=schedule,
        nudged=schedule,
        throw=False,
    )
    return aux, grads


def in_a_row(network):
    """Weights and biases of every layer, as the page has them."""
    row = [*network.couplings, network.readout]
    return np.concatenate([np.ravel(a) for c in row for a in (c.weight, c.bias)])


@pytest.mark.quick("2-0.3", "2-0.7", "5-*")
@pytest.mark.parametrize("radius", [0.03, 0.3, 0.7, 1.2])
@pytest.mark.parametrize("points", [2, 3, 4, 5, 8, 12, 30])
def test_numbers_are_the_librarys(shown, example, reference, points, radius):
    aux, grads = by_library(example, radius, points)
    assert np.max(aux.residuals["nudged"]) < SETTLED
    found = shown.evaluate(f"estimate(network, free, {radius}, {points})")
    assert found["unsettled"] == 0
    np.testing.assert_allclose(found["gradient"], in_a_row(grads), rtol=1e-6, atol=1e-9)
    assert found["trusted"] == bool(aux.trusted[0])
    for name in ("bias", "settling", "rounding"):
        assert found[name] == pytest.approx(float(aux.error_parts[name][0]), rel=1e-6, abs=1e-12)
    assert found["error"] == pytest.approx(float(aux.error[0]), rel=1e-6, abs=1e-12)
    truth = hp.gradient_alignment(grads, reference)
    assert found["trueError"] == pytest.approx(float(truth.relative_error), rel=1e-6, abs=1e-11)
    assert found["cosine"] == pytest.approx(float(truth.cosine), rel=1e-9)


@pytest.mark.parametrize(("radius", "points"), [(0.2, 30), (0.6, 30), (1.0, 30)])
def test_states_are_the_librarys(shown, example, radius, points):
    steps = CONFIG.map_steps
    free, nudged = example.relax(radius * circle(points), free_steps=steps, steps=steps)
    states = shown.evaluate(
        f"circle(network, free, {radius}, {points})"
        ".map(({state}) => state.map(({re, im}) => [[...re], [...im]]))"
    )
    settled = shown.evaluate("free.map(({re}) => [...re])")
    for layer in range(2):
        found = np.array([point[layer] for point in states])
        state = np.asarray(nudged.state[layer])[:, 0]
        np.testing.assert_allclose(found[:, 0] + 1j * found[:, 1], state, atol=1e-10)
        np.testing.assert_allclose(settled[layer], free.state[layer][0], atol=1e-12)


def test_fourier_coefficients_are_those_of_the_states(shown, example):
    points, radius = 30, 0.5
    steps = CONFIG.map_steps
    free, nudged = example.relax(radius * circle(points), free_steps=steps, steps=steps)
    moved = [
        np.asarray(s)[:, 0] - np.asarray(f) for s, f in zip(nudged.state, free.state, strict=True)
    ]
    expected = np.linalg.norm(np.fft.fft(np.hstack(moved), axis=0) / points, axis=1)
    found = shown.evaluate(f"estimate(network, free, {radius}, {points}).coefficients")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)


# Its controls


def rim(browser, radius, angle):
    """Where the rim of a circle is in the window."""
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    place = f"new DOMPoint(plane.x({float(x)}), plane.y({float(y)}))"
    place = f"{place}.matrixTransform(element('map').getScreenCTM())"
    return browser.evaluate(f"[{place}.x, {place}.y]")


def seen(browser):
    """What there is to be seen of a setting."""
    panels = ("nudges", "layer-1", "layer-2", "spectrum", "curve")
    return [browser.evaluate(f"element('{name}').innerHTML") for name in panels]


@pytest.mark.parametrize("hand", ["mouse", "finger"])
def test_dragging_the_rim_changes_orbits_and_error(shown, hand):
    before, error = seen(shown), number(shown, "true-error")
    drag = shown.drag if hand == "mouse" else shown.touch
    # It is taken wherever one touches it, and need not be let go in the same direction.
    drag(rim(shown, 0.5, 2.0), rim(shown, 0.3, 1.0))
    radius = shown.evaluate("setting.radius")
    assert radius == pytest.approx(0.3, abs=0.0101)
    assert shown.evaluate("element('radius-value').textContent") == f"{radius:.2f}"
    assert float(shown.evaluate("element('radius').value")) == radius
    assert all(a != b for a, b in zip(before, seen(shown), strict=True))
    found = shown.evaluate(f"estimate(network, free, {radius}, 8)")
    assert number(shown, "true-error") == found["trueError"]
    assert number(shown, "own-error") == found["error"]
    # Eq. (9): the error falls as the radius to the power of N.
    assert np.log(found["trueError"] / error) == pytest.approx(8 * np.log(radius / 0.5), rel=0.05)


def test_circle_stays_within_the_map(shown):
    shown.drag(rim(shown, 0.5, 1.0), rim(shown, 2.5, 0.0))
    assert shown.evaluate("setting.radius") == 1.5
    shown.drag(rim(shown, 1.4, 0.0), rim(shown, 0.0, 0.0))
    assert shown.evaluate("setting.radius") == 0.01


def test_what_is_dragged_beside_the_rim_moves_nothing(shown):
    before = seen(shown)
    shown.drag(rim(shown, 1.2, 1.0), rim(shown, 0.7, 1.0))
    assert seen(shown) == before


def test_keys_move_radius_and_points(shown):
    shown.evaluate("element('radius').focus()")
    for _ in range(3):
        shown.press("ArrowLeft")
    assert shown.evaluate("setting.radius") == 0.47
    # The next stop of the tabulator.
    shown.press("Tab")
    shown.press("ArrowRight")
    assert shown.evaluate("setting") == {"radius": 0.47, "points": 9}
    assert shown.evaluate("element('points-value').textContent") == "9"
    assert shown.evaluate("document.querySelectorAll('#nudges circle').length") == 9
    found = shown.evaluate("estimate(network, free, 0.47, 9)")
    assert number(shown, "true-error") == found["trueError"]


def test_map_is_drawn_with_imaginary_parts_upwards(shown, tmp_path):
    shown.screenshot(tmp_path / "page.png", width=1200, height=1300)
    picture = imread(tmp_path / "page.png")
    pale = {}
    for angle in (0.5, -0.5):
        x, y = rim(shown, 1.2, angle * np.pi)
        pale[angle] = picture[round(y), round(x), 0] > 0.5
    assert pale == {0.5: True, -0.5: False}


# Bad states


def verdict(browser):
    return browser.evaluate("element('verdict').textContent")


NUMBERS = ("true-error", "own-error", "cosine", "weight-estimate")


def test_settled_points_are_said_to_be(shown):
    assert verdict(shown) == "All 8 points settle, in the stable region."
    assert None not in [number(shown, name) for name in NUMBERS]
    index = shown.evaluate("element('weight-name').textContent")
    assert index == "gradient of the weight from unit 2 to 3"


def test_points_that_do_not_settle_give_no_numbers(shown, example):
    # Where the library's states, too, still move after these steps.
    radius, points = 0.92, 30
    steps = CONFIG.map_steps
    _, nudged = example.relax(radius * circle(points), free_steps=steps, steps=steps)
    loose = int(np.sum(~(np.asarray(nudged.residual)[:, 0] < SETTLED)))
    assert loose > 0
    shown.evaluate(f"setting.points = {points}; setRadius({radius})")
    assert verdict(shown).startswith(f"{loose} of 30 points (crosses) do not settle in 200 steps")
    assert [number(shown, name) for name in NUMBERS] == [None] * 4
    assert shown.evaluate("element('true-error').textContent") == "–"
    assert "no estimate" in shown.evaluate("element('spectrum').textContent")


def test_circle_that_encloses_what_does_not_settle_is_said_to(shown):
    shown.evaluate("setRadius(1)")
    assert "crosses or encloses nudges under which the network does not" in verdict(shown)
    assert "trusted" not in verdict(shown)
    assert shown.evaluate("element('verdict').className") == "warning"


def test_estimate_that_distrusts_itself_says_so(shown, example):
    aux, _ = by_library(example, 1.2, 5)
    shown.evaluate("setting.points = 5; setRadius(1.2)")
    assert ("not to be trusted" in verdict(shown)) != bool(aux.trusted[0])
    shown.evaluate("setting.points = 2; setRadius(0.8)")
    aux, _ = by_library(example, 0.8, 2)
    assert not bool(aux.trusted[0])
    assert "not to be trusted" in verdict(shown)
