// The toy network as the library has it: synchronous steps of the fixed-point map in complex
// float64 arithmetic, and the holomorphic estimate with what it says of its own error.
// A state is an array of vectors, one for each hidden layer.

const EPS = Number.EPSILON;

function makeNetwork(data) {
  const layers = data.layers.map(({ weight, bias }) => ({
    weight,
    up: transposed(weight),
    bias: vector(bias),
  }));
  const readout = layers.pop();
  const input = vector(data.input);
  return {
    layers,
    readout,
    input,
    drive: plus(product(layers[0].weight, input), layers[0].bias),
    target: vector(data.layers.at(-1).bias.map((_, k) => Number(k === data.label))),
    steps: data.steps,
    tolerance: data.settled,
    gradient: data.gradient.flatMap(({ weight, bias }) => [...weight.flat(), ...bias]),
  };
}

// The derivative of the cross-entropy by the readout's output: softmax less target.
function outputError(network, state) {
  const { weight, bias } = network.readout;
  return minus(softmax(plus(product(weight, state.at(-1)), bias)), network.target);
}

// One step of all units at once: s <- activation(u), with u from below, above and the nudge.
function step(network, state, nudge) {
  const { layers, readout } = network;
  return state.map((_, l) => {
    let u = network.drive;
    if (l > 0) u = plus(product(layers[l].weight, state[l - 1]), layers[l].bias);
    if (l + 1 < layers.length) u = plus(u, product(layers[l + 1].up, state[l + 1]));
    else u = minus(u, times(nudge, product(readout.up, outputError(network, state))));
    return shiftedSigmoid(u);
  });
}

// The state after the network's steps, and the two moves that follow the last but one.
function relax(network, start, nudge) {
  let before = start, state = start;
  for (let k = 0; k < network.steps; k++) [before, state] = [state, step(network, state, nudge)];
  return {
    state,
    last: difference(step(network, state, nudge), state),
    lastButOne: difference(state, before),
  };
}

function freeState(network) {
  const zero = network.layers.map(({ weight }) => vector(weight.map(() => 0)));
  return relax(network, zero, { re: 0, im: 0 }).state;
}

function difference(a, b) {
  return a.map((layer, l) => minus(layer, b[l]));
}

function norm(state) {
  return Math.sqrt(state.reduce((sum, layer) => sum + inner(layer, layer), 0));
}

// How far a state still is from equilibrium, relative to its response to the nudge: moves that
// shrink by a rate from one to the next add up to 1 / (1 - rate) of the last.
function residual({ state, last, lastButOne }, free) {
  const meanSquare = (a, b = a) => inner(a, b) / a.re.length;
  const response = difference(state, free);
  let told = false, newer = 0, older = 0, between = 0, longest = 0;
  for (let l = 0; l < state.length; l++) {
    const unit = Math.max(meanSquare(response[l]), Number.MIN_VALUE);
    const length = meanSquare(last[l]) / unit;
    told ||= length > (4 * EPS * EPS * meanSquare(state[l])) / unit;
    newer += length;
    older += meanSquare(lastButOne[l]) / unit;
    between += meanSquare(last[l], lastButOne[l]) / unit;
    longest = Math.max(longest, length);
  }
  const rate = older > 0 ? between / older : 1;
  const left = told ? 1 / Math.max(1 - Math.max(rate, 0), EPS) : 1;
  return Number.isFinite(newer) ? left * Math.sqrt(longest) : Infinity;
}

// Equilibria at N nudges round zero, each from the free one. The lower half has the conjugate ones.
function circle(network, free, radius, points) {
  const found = [];
  for (let k = 0; k < points; k++) {
    const angle = (2 * Math.PI * k) / points;
    const nudge = { re: radius * Math.cos(angle), im: radius * Math.sin(angle) };
    const twin = found[points - k];
    if (twin) {
      found.push({ ...twin, angle, nudge, state: twin.state.map(conjugate) });
      continue;
    }
    const relaxed = relax(network, free, nudge);
    const left = residual(relaxed, free), settled = left < network.tolerance;
    found.push({ angle, nudge, state: relaxed.state, residual: left, settled });
  }
  return found;
}

// The derivative of the total energy by every weight and bias, real or imaginary parts in a row.
function energySlope(network, { state, nudge }) {
  const below = [network.input, ...state], negative = { re: -1, im: 0 };
  const pairs = state.map((above, l) => [times(negative, above), below[l]]);
  pairs.push([times(nudge, outputError(network, state)), state.at(-1)]);
  const slope = { re: [], im: [] };
  for (const [above, source] of pairs) {
    for (let i = 0; i < above.re.length; i++) {
      const row = times({ re: above.re[i], im: above.im[i] }, source);
      slope.re.push(...row.re);
      slope.im.push(...row.im);
    }
    slope.re.push(...above.re);
    slope.im.push(...above.im);
  }
  return slope;
}

// Eq. (8): the first Fourier coefficient of that derivative over the circle, by the radius.
function readGradient(network, points, radius) {
  const sum = network.gradient.map(() => 0);
  for (const point of points) {
    const slope = energySlope(network, point);
    const cos = Math.cos(point.angle), sin = Math.sin(point.angle);
    for (let k = 0; k < sum.length; k++) {
      sum[k] += (cos * slope.re[k] + sin * slope.im[k]) / (points.length * radius);
    }
  }
  return sum;
}

// Sizes of the Fourier coefficients of all hidden units' deviations, of order 0 to N - 1.
function coefficients(points, free) {
  const n = points.length;
  const deviations = points.map(({ state }) => difference(state, free));
  return points.map((_, p) => {
    const terms = deviations.map((deviation, k) => {
      const angle = (-2 * Math.PI * p * k) / n;
      const turn = { re: Math.cos(angle) / n, im: Math.sin(angle) / n };
      return deviation.map((layer) => times(turn, layer));
    });
    return norm(terms.reduce((sum, term) => sum.map((layer, l) => plus(layer, term[l]))));
  });
}

// For two points: by how much the parabola through three known states misses the equation of
// equilibrium at half the nudge, relative to what the whole nudge moves.
function missed(network, free, [plusPoint, minusPoint]) {
  const topMove = (state, nudge) =>
    norm([minus(step(network, state, nudge).at(-1), state.at(-1))]);
  const guess = free.map((layer, l) => {
    const ahead = plus(layer, minus(plusPoint.state[l], layer), 3 / 8);
    return plus(ahead, minus(minusPoint.state[l], layer), -1 / 8);
  });
  const half = { re: plusPoint.nudge.re / 2, im: 0 };
  return ((8 / 3) * topMove(guess, half)) / topMove(free, plusPoint.nudge);
}

// The library's error budget, relative to the gradient: bias, settling, rounding (docs/error.md).
function budget(network, free, points, sizes) {
  const n = points.length;
  const lost = (EPS * norm(free)) / sizes[1];
  const clear = (p) => Math.max(sizes[p] / sizes[1] - lost, 0);
  let bias, trusted;
  if (n === 2) {
    bias = Math.max(missed(network, free, points) - lost, clear(0) ** 2, 0);
    trusted = bias < 0.3;
  } else {
    bias = Math.max(clear(n - 1) ** (n / (n - 2)), clear(0) ** (n / (n - 1)));
    const middle = Math.max(sizes[Math.floor(n / 2)], sizes[Math.ceil(n / 2)]) / sizes[1];
    const falling = n === 3 || Math.max(clear(n - 1), clear(0)) < middle;
    trusted = bias < 0.3 && (falling || bias < 0.01);
  }
  const upper = points.slice(0, Math.floor(n / 2) + 1);
  const mean = upper.reduce((sum, point) => sum + point.residual, 0) / upper.length;
  const settling = Math.max(mean - lost, 0);
  const rounding = 4 * EPS + lost;
  trusted ||= bias <= settling + rounding;
  return { bias, settling, rounding, error: bias + settling + rounding, trusted };
}

// Gradient, its true error, and what it says of its own; no numbers where a point does not settle.
function estimate(network, free, radius, points) {
  const found = circle(network, free, radius, points);
  const unsettled = found.filter((point) => !point.settled).length;
  if (unsettled) return { radius, points: found, unsettled };
  const gradient = readGradient(network, found, radius), truth = network.gradient;
  const dot = (a, b) => a.reduce((sum, value, k) => sum + value * b[k], 0);
  const missing = gradient.map((value, k) => value - truth[k]);
  const sizes = coefficients(found, free);
  return {
    radius,
    points: found,
    unsettled,
    gradient,
    coefficients: sizes,
    trueError: Math.sqrt(dot(missing, missing) / dot(truth, truth)),
    cosine: dot(gradient, truth) / Math.sqrt(dot(gradient, gradient) * dot(truth, truth)),
    ...budget(network, free, found, sizes),
  };
}
