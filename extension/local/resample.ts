/**
 * Makes pictures smaller or larger exactly as Pillow does. Pure.
 *
 *     RGB (w x h) --reduce--> box means, a whole factor      Image.reduce
 *                 --resize--> bicubic, a = -0.5, antialiased Image.resize
 *
 * The model was fitted on what Pillow makes, and a browser's own scaling is another filter, which
 * turns verdicts near a threshold. So this is libImaging's Resample.c and Reduce.c, with their
 * fixed-point numbers and their rounding: the same bytes, held to that by tests/vectors/local.json.
 */

/** Upright RGB, three bytes a pixel, row by row. */
export interface Picture {
  width: number;
  height: number;
  rgb: Uint8Array<ArrayBuffer>;
}

const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);
const SUPPORT = 2;

/** Which inputs make each output of one line: `first[i]` on, `count[i]` of them, by `weights`. */
interface Kernel {
  first: Int32Array;
  count: Int32Array;
  /** `stride` numbers for each output, in units of 2^-22. */
  weights: Int32Array;
  stride: number;
}

/**
 * The picture at another size. `extent`: how much of it is shown, from its upper left corner, where
 * that ends within a pixel; all of it by default.
 */
export function resize(
  picture: Picture,
  width: number,
  height: number,
  extent: { width: number; height: number } = picture,
): Picture {
  const across = kernel(picture.width, Math.fround(extent.width), width);
  const down = kernel(picture.height, Math.fround(extent.height), height);
  // Each pass rounds, so their order tells; this is that of Pillow 13.
  const isTall = picture.height - height > Math.max(0, 2 * (picture.width - width));
  return isTall
    ? narrowed(shortened(picture, down), across)
    : shortened(narrowed(picture, across), down);
}

/** Means of boxes of `factorX` x `factorY` pixels; the last ones may have fewer. */
export function reduce(picture: Picture, factorX: number, factorY: number): Picture {
  const width = Math.ceil(picture.width / factorX);
  const height = Math.ceil(picture.height / factorY);
  const rgb = new Uint8Array(width * height * 3);
  const row = new Uint32Array(width * 3);
  for (let y = 0; y < height; y++) {
    const bottom = Math.min(picture.height, (y + 1) * factorY);
    row.fill(0);
    for (let line = y * factorY; line < bottom; line++) addLine(picture, line, factorX, row);
    writeMeans(row, { width: picture.width, factorX, rows: bottom - y * factorY }, rgb, y);
  }
  return { width, height, rgb };
}

function addLine(picture: Picture, line: number, factorX: number, row: Uint32Array): void {
  let at = line * picture.width * 3;
  for (let x = 0; x < picture.width; x++) {
    const to = Math.floor(x / factorX) * 3;
    for (let channel = 0; channel < 3; channel++) {
      row[to + channel] = (row[to + channel] as number) + (picture.rgb[at++] as number);
    }
  }
}

function writeMeans(
  row: Uint32Array,
  box: { width: number; factorX: number; rows: number },
  rgb: Uint8Array,
  y: number,
): void {
  const start = y * row.length;
  for (let x = 0; x * 3 < row.length; x++) {
    const columns = Math.min(box.factorX, box.width - x * box.factorX);
    const count = columns * box.rows;
    // Pillow multiplies by 2^24 / count, rounded down, where one would divide.
    const multiplier = Math.floor(2 ** 24 / count);
    for (let at = x * 3; at < x * 3 + 3; at++) {
      rgb[start + at] = (((row[at] as number) + (count >> 1)) * multiplier) / 2 ** 24;
    }
  }
}

function kernel(inputs: number, extent: number, outputs: number): Kernel {
  const scale = extent / outputs;
  const wide = Math.max(1, scale);
  const support = SUPPORT * wide;
  const stride = Math.ceil(support) * 2 + 1;
  const found: Kernel = {
    first: new Int32Array(outputs),
    count: new Int32Array(outputs),
    weights: new Int32Array(outputs * stride),
    stride,
  };
  for (let output = 0; output < outputs; output++) {
    const center = (output + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(inputs, Math.trunc(center + support + 0.5));
    found.first[output] = first;
    found.count[output] = last - first;
    found.weights.set(weights(first, last, center, wide), output * stride);
  }
  return found;
}

function weights(first: number, last: number, center: number, wide: number): number[] {
  const raw: number[] = [];
  for (let at = first; at < last; at++) raw.push(bicubic((at - center + 0.5) * (1 / wide)));
  let total = 0;
  for (const weight of raw) total += weight;
  return raw.map((weight) => {
    const share = (total === 0 ? weight : weight / total) * (1 << PRECISION_BITS);
    return Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
  });
}

function bicubic(given: number): number {
  const a = -0.5;
  const x = Math.abs(given);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Columns mixed: as many as the kernel makes. */
function narrowed(picture: Picture, across: Kernel): Picture {
  const [width, height] = [across.first.length, picture.height];
  const rgb = new Uint8Array(width * height * 3);
  const step = picture.width * 3;
  for (let y = 0; y < height; y++) {
    const line = picture.rgb.subarray(y * step, (y + 1) * step);
    mixLine(line, across, rgb.subarray(y * width * 3, (y + 1) * width * 3));
  }
  return { width, height, rgb };
}

/** Rows mixed: as many as the kernel makes. */
function shortened(picture: Picture, down: Kernel): Picture {
  const [width, height] = [picture.width, down.first.length];
  const rgb = new Uint8Array(width * height * 3);
  const sums = new Int32Array(width * 3);
  for (let output = 0; output < height; output++) {
    sums.fill(HALF);
    const tap = output * down.stride;
    for (let row = 0; row < (down.count[output] as number); row++) {
      const at = ((down.first[output] as number) + row) * sums.length;
      const line = picture.rgb.subarray(at, at + sums.length);
      addWeighted(line, down.weights[tap + row] as number, sums);
    }
    const start = output * sums.length;
    for (let at = 0; at < sums.length; at++) rgb[start + at] = clipped(sums[at] as number);
  }
  return { width, height, rgb };
}

function addWeighted(line: Uint8Array, weight: number, sums: Int32Array): void {
  for (let at = 0; at < line.length; at++) {
    sums[at] = (sums[at] as number) + (line[at] as number) * weight;
  }
}

function mixLine(
  line: Uint8Array,
  { first, count, weights, stride }: Kernel,
  to: Uint8Array,
): void {
  for (let output = 0; output < first.length; output++) {
    let [red, green, blue] = [HALF, HALF, HALF];
    let at = (first[output] as number) * 3;
    const start = output * stride;
    const end = start + (count[output] as number);
    for (let tap = start; tap < end; tap++, at += 3) {
      const weight = weights[tap] as number;
      red += (line[at] as number) * weight;
      green += (line[at + 1] as number) * weight;
      blue += (line[at + 2] as number) * weight;
    }
    to[output * 3] = clipped(red);
    to[output * 3 + 1] = clipped(green);
    to[output * 3 + 2] = clipped(blue);
  }
}

/** A sum in units of 2^-22 as a byte. */
function clipped(sum: number): number {
  return Math.max(0, Math.min(255, sum >> PRECISION_BITS));
}
