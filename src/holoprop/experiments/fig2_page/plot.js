// Drawing: SVG as text, in a square of 256 units with axes round it; and numbers as one reads them.

const BOX = { left: 56, right: 312, top: 8, bottom: 264 };
const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function readable(value, digits) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "∞";
  if (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) return signed(value.toPrecision(digits));
  const [factor, exponent] = value.toExponential(digits - 1).split("e");
  return signed(`${factor} × ${power(Number(exponent))}`);
}

function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => DIGITS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

// With a minus sign instead of a hyphen.
function signed(number) {
  return String(number).replace(/^-/, "−");
}

// The smallest number of one digit that is not below a value.
function roundedUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return Number((unit * Math.ceil(value / unit)).toPrecision(1));
}

// Two scales from numbers to places, and the frame that belongs to them. Each axis is
// {from, to, ticks: [[value, text], ...], label}.
function axes(horizontal, vertical) {
  const share = (axis, value) => (value - axis.from) / (axis.to - axis.from);
  const x = (value) => BOX.left + (BOX.right - BOX.left) * share(horizontal, value);
  const y = (value) => BOX.bottom + (BOX.top - BOX.bottom) * share(vertical, value);
  const { left, right, top, bottom } = BOX;
  const below = horizontal.ticks.map(
    ([value, text]) => `<path class="axis" d="M${x(value)} ${bottom}v4"/>
      <text x="${x(value)}" y="${bottom + 16}" text-anchor="middle">${text}</text>`,
  );
  const beside = vertical.ticks.map(
    ([value, text]) => `<path class="axis" d="M${left} ${y(value)}h-4"/>
      <text x="${left - 7}" y="${y(value) + 4}" text-anchor="end">${text}</text>`,
  );
  const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
  const frame = `<path class="axis" d="M${left} ${top}V${bottom}H${right}"/>
    ${below.join("")}${beside.join("")}
    <text x="${middle.x}" y="${bottom + 34}" text-anchor="middle">${horizontal.label}</text>
    <text transform="translate(12 ${middle.y}) rotate(-90)" text-anchor="middle">${vertical.label}
    </text>`;
  return { x, y, frame };
}

// An axis of decades up to one, with every fourth named.
function decades(from, label) {
  const ticks = [];
  for (let exponent = from; exponent <= 0; exponent += 4) ticks.push([exponent, power(exponent)]);
  return { from, to: 0, ticks, label };
}

// Markers of the pictures' series: circle, square, triangle, diamond.
function marker(kind, x, y, size, color) {
  const shapes = [
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0 -2 0",
    "M-1 -1h2v2h-2z",
    "M0 -1.2l1.2 2.2h-2.4z",
    "M0 -1.4l1.4 1.4l-1.4 1.4l-1.4 -1.4z",
  ];
  const place = `translate(${x} ${y}) scale(${size})`;
  return `<path d="${shapes[kind % shapes.length]}" transform="${place}" fill="${color}"/>`;
}

function cross(x, y, color) {
  return `<path d="M${x - 4} ${y - 4}l8 8m0 -8l-8 8" stroke="${color}" stroke-width="2"/>`;
}

// A line through places, with gaps where there is none (null).
function line(places, color, dash = "") {
  let pen = "M";
  const parts = places.map((place) => {
    const part = place ? `${pen}${place[0]} ${place[1]}` : "";
    pen = place ? "L" : "M";
    return part;
  });
  const style = `stroke="${color}" stroke-width="1.5" stroke-dasharray="${dash}"`;
  return `<path d="${parts.join("")}" fill="none" ${style}/>`;
}
