// Vectors of complex numbers in float64: {re, im}, two arrays of one length. Matrices are real, an
// array of rows, so that a product is one of the real parts and one of the imaginary parts.
// Loops are written out: a step of the network is made of them, and takes microseconds.

function zeros(length) {
  return { re: new Float64Array(length), im: new Float64Array(length) };
}

function vector(re) {
  return { re: Float64Array.from(re), im: new Float64Array(re.length) };
}

// a + factor b, with a real factor.
function plus(a, b, factor = 1) {
  const sum = zeros(a.re.length);
  for (let k = 0; k < sum.re.length; k++) {
    sum.re[k] = a.re[k] + factor * b.re[k];
    sum.im[k] = a.im[k] + factor * b.im[k];
  }
  return sum;
}

function minus(a, b) {
  return plus(a, b, -1);
}

// A complex number z = {re, im} times a vector.
function times(z, a) {
  const made = zeros(a.re.length);
  for (let k = 0; k < made.re.length; k++) {
    made.re[k] = z.re * a.re[k] - z.im * a.im[k];
    made.im[k] = z.re * a.im[k] + z.im * a.re[k];
  }
  return made;
}

function conjugate(a) {
  return { re: a.re, im: a.im.map((value) => -value) };
}

function product(matrix, a) {
  const made = zeros(matrix.length);
  for (let row = 0; row < matrix.length; row++) {
    const weights = matrix[row];
    let re = 0, im = 0;
    for (let k = 0; k < weights.length; k++) {
      re += weights[k] * a.re[k];
      im += weights[k] * a.im[k];
    }
    made.re[row] = re;
    made.im[row] = im;
  }
  return made;
}

function transposed(matrix) {
  return matrix[0].map((_, column) => matrix.map((row) => row[column]));
}

// 1 / (1 + exp(-z)) at z = 4 u - 2. Where the real part of z is negative the same function is written
// as e / (1 + e) with e = exp(z): the exponential stays below one.
function shiftedSigmoid(u) {
  const made = zeros(u.re.length);
  for (let k = 0; k < made.re.length; k++) {
    const zRe = 4 * u.re[k] - 2, zIm = 4 * u.im[k];
    const positive = zRe >= 0, sign = positive ? -1 : 1;
    const size = Math.exp(sign * zRe);
    const re = size * Math.cos(zIm), im = size * Math.sin(sign * zIm);
    const square = (1 + re) * (1 + re) + im * im;
    made.re[k] = (positive ? 1 + re : re * (1 + re) + im * im) / square;
    made.im[k] = (positive ? -im : im) / square;
  }
  return made;
}

// exp(z) over its sum; the shift by a real number drops out.
function softmax(z) {
  const made = zeros(z.re.length), shift = Math.max(...z.re);
  let re = 0, im = 0;
  for (let k = 0; k < made.re.length; k++) {
    const size = Math.exp(z.re[k] - shift);
    re += made.re[k] = size * Math.cos(z.im[k]);
    im += made.im[k] = size * Math.sin(z.im[k]);
  }
  const square = re * re + im * im;
  return times({ re: re / square, im: -im / square }, made);
}

// Sum over k of Re(conj(a_k) b_k).
function inner(a, b) {
  let sum = 0;
  for (let k = 0; k < a.re.length; k++) sum += a.re[k] * b.re[k] + a.im[k] * b.im[k];
  return sum;
}
