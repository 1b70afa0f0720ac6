// The five panels, each drawn anew from what was found: `data` as the experiment wrote it, `free` the
// free equilibrium, and an estimate.

const LEAST = -16;
const square = { from: data.map.from, to: data.map.to, ticks: [[-1, "−1"], [0, 0], [1, 1]] };
const plane = axes({ ...square, label: "Re nudge" }, { ...square, label: "Im nudge" });

function element(id) {
  return document.getElementById(id);
}

// The map, a pixel for each nudge, imaginary parts upwards.
function drawMap() {
  const { points, levels, ramp, from, to } = data.map;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = points;
  const context = canvas.getContext("2d");
  [...atob(levels)].forEach((level, k) => {
    context.fillStyle = ramp[level.charCodeAt(0)];
    context.fillRect(k % points, points - 1 - Math.floor(k / points), 1, 1);
  });
  // A pixel's middle is its nudge.
  const pixel = (plane.x(to) - plane.x(from)) / (points - 1), side = pixel * points;
  element("map-frame").innerHTML = `<image href="${canvas.toDataURL()}" x="${BOX.left - pixel / 2}"
    y="${BOX.top - pixel / 2}" width="${side}" height="${side}"/>${plane.frame}`;
}

function drawNudges({ radius, points }) {
  for (const ring of [element("ring"), element("rim")]) {
    ring.setAttribute("cx", plane.x(0));
    ring.setAttribute("cy", plane.y(0));
    ring.setAttribute("r", plane.x(radius) - plane.x(0));
  }
  element("nudges").innerHTML = points.map(({ nudge, settled }, k) => {
    const x = plane.x(nudge.re), y = plane.y(nudge.im);
    return settled ? `<circle cx="${x}" cy="${y}" r="${k ? 3 : 5}"/>` : cross(x, y, data.series[1]);
  }).join("");
}

// Each unit's activity less its free equilibrium: markers at the N points, a line through many more.
function drawOrbits(layer, { points }, fine) {
  const settled = [...points, ...fine].filter((point) => point.settled);
  const moved = new Map(settled.map((point) => [point, minus(point.state[layer], free[layer])]));
  const sizes = [...moved.values()].flatMap(({ re, im }) => [...re, ...im].map(Math.abs));
  const limit = roundedUp(Math.max(...sizes, 1e-12));
  const ticks = [-limit, 0, limit].map((value) => [value, readable(value, 1)]);
  const axis = { from: -1.05 * limit, to: 1.05 * limit, ticks };
  const { x, y, frame } = axes({ ...axis, label: "Re (s − s₀)" }, { ...axis, label: "Im (s − s₀)" });
  const orbits = data.layers[layer].bias.map((_, unit) => {
    const place = (point) => {
      const found = moved.get(point);
      return found && [x(found.re[unit]), y(found.im[unit])];
    };
    const color = data.series[unit], across = BOX.left + 8 + 66 * unit;
    const marks = points.map(
      (point, k) => place(point) && marker(unit, ...place(point), k ? 3 : 5, color),
    );
    const name = `${marker(unit, across, 314, 4, color)}
      <text x="${across + 9}" y="318">unit ${unit + 1}</text>`;
    return line([...fine, fine[0]].map(place), color) + marks.filter(Boolean).join("") + name;
  });
  const origin = `<path class="zero" d="M${x(0) - 5} ${y(0)}h10m-5 -5v10"/>`;
  element(`layer-${layer + 1}`).innerHTML = frame + origin + orbits.join("");
}

// The first coefficient is what is read; those next to it modulo N would vanish for many points.
function drawSpectrum({ points, unsettled, coefficients: sizes }) {
  const n = points.length;
  const ticks = [...points.keys()].filter((order) => order % Math.ceil(n / 8) === 0);
  const { x, y, frame } = axes(
    { from: -0.7, to: n - 0.3, ticks: ticks.map((order) => [order, order]), label: "order" },
    decades(LEAST, "size"),
  );
  const bars = unsettled ? [] : sizes.map((size, order) => {
    const kind = order === 1 ? "read" : order === 0 || order === n - 1 ? "alias" : "other";
    return `<path class="${kind}" d="M${x(order)} ${BOX.bottom}V${y(decade(size))}"/>`;
  });
  const middle = `x="${(BOX.left + BOX.right) / 2}" y="${(BOX.top + BOX.bottom) / 2}"`;
  const nothing = unsettled ? `<text ${middle} text-anchor="middle">no estimate</text>` : "";
  element("spectrum").innerHTML = frame + bars.join("") + nothing;
}

// True and self-stated error of the present estimate, and of those of other radii.
function drawCurve(found, others, frontier) {
  const ticks = [0.01, 0.1, 0.5, 1].map((radius) => [Math.log10(radius), radius]);
  const across = { from: -2, to: Math.log10(data.map.to), ticks, label: "radius" };
  const { x, y, frame } = axes(across, decades(LEAST, "relative error"));
  const place = (one, name) => [x(Math.log10(one.radius)), y(decade(one[name]))];
  const curve = (name) => others.map((one) => (one.unsettled ? null : place(one, name)));
  const [blue, red] = data.series;
  const now = found.unsettled
    ? cross(x(Math.log10(found.radius)), y(LEAST / 2), data.series[1])
    : marker(0, ...place(found, "trueError"), 5, blue) + marker(1, ...place(found, "error"), 4, red);
  const edge = x(Math.min(Math.log10(frontier), across.to));
  const outside = `<path class="outside" d="M${edge} ${BOX.top}H${BOX.right}V${BOX.bottom}H${edge}"/>`;
  const lines = line(curve("trueError"), blue) + line(curve("error"), red, "5 3");
  element("curve").innerHTML = outside + frame + lines + now;
}

// A size's place on an axis of decades, which ends at both ends.
function decade(size) {
  return Math.min(Math.max(Math.log10(size), LEAST), 0);
}
