// Drawing: SVG as text, in a square of 256 units with axes round it; and numbers as one reads them.

const BOX = { left: 56, right: 312, top: 8, bottom: 264 };
const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function readable(value, digits = 3) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) return minusSign(value.toPrecision(digits));
  const [factor, exponent] = value.toExponential(digits - 1).split("e");
  return minusSign(`${factor} × ${power(Number(exponent))}`);
}

function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => DIGITS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

function minusSign(text) {
  return text.replace(/^-/, "−");
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
    <text transform="translate(12 ${middle.y}) rotate(-90)" text-anchor="middle">${vertical.label}</text>`;
  return { x, y, frame };
}

// Decades from one exponent to another, with every so manieth labelled.
function decades(from, to, every, label) {
  const ticks = [];
  for (let exponent = from; exponent <= to; exponent += every) ticks.push([exponent, power(exponent)]);
  return { from, to, ticks, label };
}

// Markers of the pictures' series: circle, square, triangle, diamond.
function marker(kind, x, y, size, color) {
  const shapes = [
    `M${x - size} ${y}a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0`,
    `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z`,
    `M${x} ${y - 1.2 * size}l${1.2 * size} ${2.2 * size}h${-2.4 * size}z`,
    `M${x} ${y - 1.4 * size}l${1.4 * size} ${1.4 * size}l${-1.4 * size} ${1.4 * size}l${-1.4 * size} ${-1.4 * size}z`,
  ];
  return `<path d="${shapes[kind % shapes.length]}" fill="${color}"/>`;
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
  return `<path d="${parts.join("")}" fill="none" stroke="${color}" stroke-width="1.5" stroke-dasharray="${dash}"/>`;
}
