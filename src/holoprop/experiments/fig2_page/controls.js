// What one moves, a radius and a number of points; and what is said of it.

const network = makeNetwork(data);
const free = freeState(network);
const setting = { radius: data.radius, points: 8 };
// The smallest circle that goes through a nudge of the map that does not settle.
const FRONTIER = data.frontier ?? Infinity;
// Radii of the curves, and points of an orbit's line.
const RADII = Array.from({ length: 21 }, (_, k) => 0.01 * (data.map.to / 0.01) ** (k / 20));
const FINE = 96;
// By the number of points, once for each: what an estimate is worth at these radii.
const curves = new Map();

function verdict({ radius, points, unsettled, trusted }) {
  if (unsettled) {
    return `${unsettled} of ${points.length} points (crosses) do not settle in ${network.steps} steps: `
      + "there is no gradient to be read from them. Take a smaller radius.";
  }
  const place = radius < FRONTIER ? ", in the stable region." :
    ", but the circle crosses or encloses nudges under which the network does not "
    + `(from radius ${FRONTIER.toFixed(2)} on): no number of points makes this the gradient.`;
  const distrust = trusted ? "" : " By its own account the estimate is not to be trusted.";
  return `All ${points.length} points settle${place}${distrust}`;
}

// A number as one reads it; all its digits where one points at it.
function show(id, value, digits) {
  element(id).textContent = value === undefined ? "–" : readable(value, digits);
  element(id).title = value ?? "";
}

function showNumbers(found) {
  element("verdict").textContent = verdict(found);
  element("verdict").classList.toggle("warning", !found.trusted || found.radius >= FRONTIER);
  show("true-error", found.trueError, 3);
  show("own-error", found.error, 3);
  show("cosine", found.cosine, 6);
  const [lower, upper] = data.units, [first, second] = data.layers;
  // Behind the first layer's weights and biases.
  const start = first.weight.flat().length + first.bias.length;
  const index = start + upper * second.weight[0].length + lower;
  element("weight-name").textContent = `gradient of the weight from unit ${lower + 1} to ${upper + 1}`;
  show("weight-estimate", found.gradient?.[index], 6);
  show("weight-truth", network.gradient[index], 6);
  show("residual", Math.max(...found.points.map((point) => point.residual)), 2);
}

// Everything, for the present setting.
function draw() {
  const { radius, points } = setting;
  element("radius").value = radius;
  element("points").value = points;
  element("radius-value").textContent = radius.toFixed(2);
  element("points-value").textContent = points;
  if (!curves.has(points)) {
    curves.set(points, RADII.map((other) => estimate(network, free, other, points)));
  }
  const found = estimate(network, free, radius, points);
  const fine = circle(network, free, radius, FINE);
  drawNudges(found);
  free.forEach((_, layer) => drawOrbits(layer, found, fine));
  drawSpectrum(found);
  drawCurve(found, curves.get(points), FRONTIER);
  showNumbers(found);
}

function setRadius(radius) {
  const { min, max } = element("radius");
  setting.radius = Number(Math.min(Math.max(radius, min), max).toFixed(2));
  draw();
}

function dragTo({ clientX, clientY }) {
  const toMap = element("map").getScreenCTM().inverse();
  const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(toMap);
  setRadius(Math.hypot(x - plane.x(0), y - plane.y(0)) / (plane.x(1) - plane.x(0)));
}

element("rim").addEventListener("pointerdown", (event) => {
  event.target.setPointerCapture(event.pointerId);
  dragTo(event);
});
element("rim").addEventListener("pointermove", (event) => {
  if (event.target.hasPointerCapture(event.pointerId)) dragTo(event);
});
element("radius").addEventListener("input", (event) => setRadius(Number(event.target.value)));
element("points").addEventListener("input", (event) => {
  setting.points = Number(event.target.value);
  draw();
});

const [first, second] = data.series;
document.body.style.cssText = `--first: ${first}; --second: ${second}`;
element("radius").max = data.map.to;
element("seed").textContent = data.seed;
element("steps").textContent = data.steps;
drawMap();
draw();
