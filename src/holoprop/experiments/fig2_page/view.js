// What one sees, and what one moves: a radius and a number of points.

const data = JSON.parse(document.getElementById("data").textContent);
const network = makeNetwork(data);
const free = freeState(network);
const setting = { radius: data.radius, points: 8 };
const LARGEST = data.map.to;
// The smallest circle that goes through a nudge of the map that does not settle.
const FRONTIER = data.frontier ?? Infinity;
// Radii of the curve, and nudges of an orbit's line.
const RADII = Array.from({ length: 25 }, (_, k) => 0.01 * (LARGEST / 0.01) ** (k / 24));
const FINE = 64;
const element = (id) => document.getElementById(id);
const plane = axes(
  { from: data.map.from, to: LARGEST, ticks: planeTicks(), label: "Re nudge" },
  { from: data.map.from, to: LARGEST, ticks: planeTicks(), label: "Im nudge" },
);
const curves = new Map();
let shown;

function planeTicks() {
  return [-1, 0, 1].map((value) => [value, minusSign(String(value))]);
}

// The map, a pixel for each nudge, imaginary parts upwards.
function mapPicture() {
  const { points, levels, ramp } = data.map;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = points;
  const context = canvas.getContext("2d");
  const image = context.createImageData(points, points);
  const bytes = atob(levels);
  for (let k = 0; k < bytes.length; k++) {
    const color = parseInt(ramp[bytes.charCodeAt(k)].slice(1), 16);
    const row = points - 1 - Math.floor(k / points);
    image.data.set([color >> 16, (color >> 8) & 255, color & 255, 255], 4 * (row * points + (k % points)));
  }
  context.putImageData(image, 0, 0);
  // A pixel's middle is its nudge.
  const pixel = (plane.x(LARGEST) - plane.x(data.map.from)) / (points - 1);
  const side = pixel * points;
  return `<image href="${canvas.toDataURL()}" x="${BOX.left - pixel / 2}" y="${BOX.top - pixel / 2}"
    width="${side}" height="${side}" preserveAspectRatio="none"/>${plane.frame}`;
}

function drawNudges({ radius, points }) {
  const size = plane.x(radius) - plane.x(0);
  const [x, y] = [plane.x(0), plane.y(0)];
  for (const [name, value] of Object.entries({ cx: x, cy: y, r: size })) element("rim").setAttribute(name, value);
  const marks = points.map(({ nudge, settled }, k) => {
    const at = [plane.x(nudge.re), plane.y(nudge.im)];
    if (!settled) return cross(...at, data.accent);
    return `<circle cx="${at[0]}" cy="${at[1]}" r="${k ? 3 : 5}" fill="${data.accent}" stroke="#fff"/>`;
  });
  element("nudges").innerHTML =
    `<circle cx="${x}" cy="${y}" r="${size}" fill="none" stroke="${data.accent}" stroke-width="2"/>${marks.join("")}`;
}

// The smallest number of one digit that is not below a value.
function rounded(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return Number((unit * Math.ceil(value / unit)).toPrecision(1));
}

function drawOrbits(layer, { points }, fine) {
  const moved = ({ state }, unit) => [
    state[layer].re[unit] - free[layer].re[unit],
    state[layer].im[unit] - free[layer].im[unit],
  ];
  const units = [...free[layer].re.keys()];
  const known = [...points, ...fine].filter((point) => point.settled);
  const sizes = known.flatMap((point) => units.flatMap((unit) => moved(point, unit).map(Math.abs)));
  const limit = rounded(Math.max(...sizes, 1e-12));
  const ticks = [-limit, 0, limit].map((value) => [value, readable(value, 1)]);
  const axis = { from: -1.05 * limit, to: 1.05 * limit, ticks };
  const { x, y, frame } = axes({ ...axis, label: "Re (s − s₀)" }, { ...axis, label: "Im (s − s₀)" });
  const at = (point, unit) => {
    const [re, im] = moved(point, unit);
    return [x(re), y(im)];
  };
  const orbits = units.map((unit) => {
    const color = data.series[unit];
    const round = [...fine, fine[0]].map((point) => (point.settled ? at(point, unit) : null));
    const marks = points.map((point, k) =>
      point.settled ? marker(unit, ...at(point, unit), k ? 3 : 5, color) : "",
    );
    return line(round, color) + marks.join("");
  });
  const names = units.map(
    (unit) => `${marker(unit, BOX.left + 12 + 64 * unit, 14, 4, data.series[unit])}
      <text x="${BOX.left + 20 + 64 * unit}" y="18">unit ${unit + 1}</text>`,
  );
  const origin = `<path class="zero" d="M${x(0) - 5} ${y(0)}h10m-5 -5v10"/>`;
  element(`layer-${layer + 1}`).innerHTML = frame + origin + orbits.join("") + names.join("");
}

function drawSpectrum({ unsettled, coefficients: sizes }) {
  const count = setting.points;
  const every = Math.ceil(count / 8);
  const ticks = [];
  for (let order = 0; order < count; order += every) ticks.push([order, order]);
  const { x, y, frame } = axes(
    { from: -0.7, to: count - 0.3, ticks, label: "order" },
    decades(-16, 0, 4, "size"),
  );
  const bars = unsettled ? [] : sizes.map((size, order) => {
    const level = y(Math.min(Math.max(Math.log10(size), -16), 0));
    const tells = order !== 1 && (order === 0 || order === count - 1);
    const color = data.series[order === 1 ? 0 : tells ? 1 : 4];
    const stroke = order === 1 || tells ? color : "var(--soft)";
    return `<path d="M${x(order)} ${BOX.bottom}V${level}" stroke="${stroke}" stroke-width="5"
      stroke-dasharray="${tells ? "4 2" : ""}"/>`;
  });
  element("spectrum").innerHTML = frame + bars.join("") + (unsettled ? nothing() : "");
}

function nothing() {
  return `<text x="${(BOX.left + BOX.right) / 2}" y="${(BOX.top + BOX.bottom) / 2}" text-anchor="middle">no estimate</text>`;
}

// Errors for all radii at the present number of points, once for each number.
function curve() {
  const { points } = setting;
  if (!curves.has(points)) {
    curves.set(points, RADII.map((radius) => {
      const { unsettled, trueError, error } = estimate(network, free, radius, points);
      return { radius, unsettled, trueError, error };
    }));
  }
  return curves.get(points);
}

function drawCurve({ radius, unsettled, trueError, error }) {
  const { x, y, frame } = axes(
    { from: -2, to: Math.log10(LARGEST), ticks: [0.01, 0.1, 0.5, 1].map((r) => [Math.log10(r), r]), label: "radius" },
    decades(-16, 0, 4, "relative error"),
  );
  const height = (value) => y(Math.min(Math.max(Math.log10(value), -16), 0));
  const errors = (name) => curve().map((one) => (one.unsettled ? null : [x(Math.log10(one.radius)), height(one[name])]));
  const edge = x(Math.log10(Math.min(FRONTIER, LARGEST)));
  const place = x(Math.log10(radius));
  const now = unsettled
    ? cross(place, y(-8), data.accent)
    : marker(0, place, height(trueError), 5, data.series[0]) + marker(1, place, height(error), 4, data.series[1]);
  const legend = `${line([[66, 20], [90, 20]], data.series[0])}<text x="95" y="24">true</text>
    ${line([[66, 36], [90, 36]], data.series[1], "5 3")}<text x="95" y="40">as it says of itself</text>
    <rect class="outside" x="66" y="46" width="24" height="10"/><text x="95" y="55">outside the stable region</text>`;
  element("curve").innerHTML =
    `<rect class="outside" x="${edge}" y="${BOX.top}" width="${BOX.right - edge}" height="${BOX.bottom - BOX.top}"/>`
    + frame + line(errors("trueError"), data.series[0]) + line(errors("error"), data.series[1], "5 3") + now + legend;
}

function verdict({ radius, points, unsettled, trusted }) {
  if (unsettled) {
    return `${unsettled} of ${points.length} points (crosses) do not settle in ${network.steps} steps: `
      + "there is no gradient to be read from them. Take a smaller radius.";
  }
  const distrust = trusted ? "" : " By its own account the estimate is not to be trusted.";
  if (radius < FRONTIER) return `All ${points.length} points settle, in the stable region.${distrust}`;
  return `All ${points.length} points settle, but between or within them are nudges under which the network `
    + `does not (from radius ${FRONTIER.toFixed(2)} on): no number of points makes this the gradient.${distrust}`;
}

// The number as one reads it; all its digits where one points at it.
function show(id, value, digits) {
  element(id).textContent = value === undefined ? "–" : readable(value, digits);
  element(id).title = value ?? "";
}

function drawNumbers(found) {
  element("verdict").textContent = verdict(found);
  element("verdict").classList.toggle("warning", !found.trusted || found.radius >= FRONTIER);
  show("true-error", found.trueError, 3);
  show("own-error", found.error, 3);
  show("cosine", found.cosine, 6);
  const [lower, upper] = data.units;
  const first = data.layers[0];
  // Behind the first layer's weights and biases.
  const index = first.weight.flat().length + first.bias.length + upper * data.layers[1].weight[0].length + lower;
  element("weight-name").textContent = `gradient of the weight from unit ${lower + 1} to ${upper + 1}`;
  show("weight-estimate", found.gradient?.[index], 6);
  show("weight-truth", network.gradient[index], 6);
  show("residual", Math.max(...found.points.map((point) => point.residual)), 2);
}

// Everything, for the present setting.
function draw() {
  shown = estimate(network, free, setting.radius, setting.points);
  element("radius").value = setting.radius;
  element("points").value = setting.points;
  element("radius-value").textContent = setting.radius.toFixed(2);
  element("points-value").textContent = setting.points;
  drawNudges(shown);
  const fine = circle(network, free, setting.radius, FINE);
  free.forEach((_, layer) => drawOrbits(layer, shown, fine));
  drawSpectrum(shown);
  drawCurve(shown);
  drawNumbers(shown);
}

function setRadius(radius) {
  const { min, max } = element("radius");
  setting.radius = Number(Math.min(Math.max(radius, min), max).toFixed(2));
  draw();
}

function dragTo({ clientX, clientY }) {
  const svg = element("map");
  const place = new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
  setRadius(Math.hypot(place.x - plane.x(0), place.y - plane.y(0)) / (plane.x(1) - plane.x(0)));
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

document.documentElement.style.setProperty("--accent", data.accent);
element("seed").textContent = data.seed;
element("steps").textContent = data.steps;
element("map-frame").innerHTML = mapPicture();
element("radius").max = LARGEST;
draw();
