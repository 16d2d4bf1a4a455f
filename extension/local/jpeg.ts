/**
 * What is left of a picture once it was saved as JPEG and read again, 4:2:0, as libjpeg-turbo does
 * it (accurate integer DCT, smooth chroma upsampling). Pure.
 *
 *     RGB -> Y, Cb, Cr -> chroma halved -> 8 x 8: DCT -> rounded to the quality's steps -> back -> RGB
 *
 * No bytes are written: the entropy coding between both halves loses nothing. A browser's own
 * encoder would need a canvas, whose pixels some browsers change by design, and tells neither its
 * tables nor its sampling. The same pixels as Pillow's, held to that by tests/vectors/local.json.
 */
import type { Picture } from "./resample";

/** One component: Y, Cb or Cr. Its sides are whole blocks; `columns` x `rows` of it are shown. */
interface Plane {
  width: number;
  height: number;
  columns: number;
  rows: number;
  values: Uint8Array;
}

const BLOCK = 8;

// ITU T.81, annex K.1.
// biome-ignore format: a table
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
  14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
  49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
// biome-ignore format: a table
const CHROMINANCE = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
  24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
  ...Array<number>(32).fill(99),
];

/** The picture after one JPEG pass of this quality, 1 to 100. */
export function jpegPassed(picture: Picture, quality: number): Picture {
  const [luma, blue, red] = planes(picture);
  lose(luma, steps(LUMINANCE, quality));
  for (const chroma of [blue, red]) lose(chroma, steps(CHROMINANCE, quality));
  return together(luma, upsampled(blue), upsampled(red));
}

function steps(table: readonly number[], quality: number): Int32Array {
  const scale = quality < 50 ? Math.trunc(5000 / quality) : 200 - 2 * quality;
  const scaled = table.map((value) => Math.trunc((value * scale + 50) / 100));
  return Int32Array.from(scaled, (value) => Math.min(255, Math.max(1, value)));
}

/* Colours: jccolor.c, jdcolor.c; 16 bits behind the point. */

const fixed = (value: number): number => Math.trunc(value * 65536 + 0.5);
const ROUND = 32768;
const CENTER = (128 << 16) + ROUND - 1;
const [Y_R, Y_G, Y_B] = [fixed(0.299), fixed(0.587), fixed(0.114)];
const [CB_R, CB_G, CR_G, CR_B] = [fixed(0.16874), fixed(0.33126), fixed(0.41869), fixed(0.08131)];
const [R_CR, G_CR, G_CB, B_CB] = [fixed(1.402), fixed(0.71414), fixed(0.34414), fixed(1.772)];

function planes({ width, height, rgb }: Picture): [Plane, Plane, Plane] {
  const [luma, blue, red] = [0, 1, 2].map(() => plane(width, height, 2 * BLOCK)) as [
    Plane,
    Plane,
    Plane,
  ];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0, to = y * luma.width; x < width; x++, at += 3, to++) {
      const [r, g, b] = [rgb[at] as number, rgb[at + 1] as number, rgb[at + 2] as number];
      luma.values[to] = (Y_R * r + Y_G * g + Y_B * b + ROUND) >> 16;
      blue.values[to] = (ROUND * b - CB_R * r - CB_G * g + CENTER) >> 16;
      red.values[to] = (ROUND * r - CR_G * g - CR_B * b + CENTER) >> 16;
    }
  }
  for (const one of [luma, blue, red]) filled(one);
  return [luma, halved(blue), halved(red)];
}

function together(luma: Plane, blue: Plane, red: Plane): Picture {
  const { columns: width, rows: height } = luma;
  const rgb = new Uint8Array(width * height * 3);
  const clamped = new Uint8ClampedArray(rgb.buffer);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const light = luma.values[y * luma.width + x] as number;
      const cb = (blue.values[y * blue.width + x] as number) - 128;
      const cr = (red.values[y * red.width + x] as number) - 128;
      clamped[to] = light + ((R_CR * cr + ROUND) >> 16);
      clamped[to + 1] = light + ((ROUND - G_CB * cb - G_CR * cr) >> 16);
      clamped[to + 2] = light + ((B_CB * cb + ROUND) >> 16);
    }
  }
  return { width, height, rgb };
}

/* Sampling: jcsample.c, jdsample.c. */

function plane(columns: number, rows: number, unit: number): Plane {
  const width = Math.ceil(columns / unit) * unit;
  const height = Math.ceil(rows / unit) * unit;
  return { width, height, columns, rows, values: new Uint8Array(width * height) };
}

/** Repeat the last column and the last row to the end of the plane. */
function filled({ width, height, columns, rows, values }: Plane): void {
  for (let y = 0; y < rows; y++) {
    const end = y * width + columns;
    values.fill(values[end - 1] as number, end, (y + 1) * width);
  }
  for (let y = rows; y < height; y++)
    values.copyWithin(y * width, (rows - 1) * width, rows * width);
}

/** Means of 2 x 2, which round down and up in turn. */
function halved(full: Plane): Plane {
  const half = plane(Math.ceil(full.columns / 2), Math.ceil(full.rows / 2), BLOCK);
  for (let y = 0; y < half.rows; y++) {
    for (let x = 0; x < half.width; x++) {
      const at = 2 * y * full.width + 2 * x;
      const below = at + full.width;
      const sum =
        (full.values[at] as number) +
        (full.values[at + 1] as number) +
        (full.values[below] as number) +
        (full.values[below + 1] as number);
      half.values[y * half.width + x] = (sum + 1 + (x & 1)) >> 2;
    }
  }
  // Right of the picture its last pixel was repeated already; below, the last HALVED row is.
  filled({ ...half, columns: half.width });
  return half;
}

/** Twice the size: each pixel 9/16 of the nearest, 3/16 of two neighbours and 1/16 of a third. */
function upsampled(half: Plane): Plane {
  const full = plane(half.columns * 2, half.rows * 2, 1);
  const sums = new Int32Array(half.columns);
  for (let y = 0; y < full.height; y++) {
    const near = y >> 1;
    const far = Math.min(half.rows - 1, Math.max(0, near + (y & 1 ? 1 : -1)));
    for (let x = 0; x < half.columns; x++) {
      const value = half.values[near * half.width + x] as number;
      sums[x] = 3 * value + (half.values[far * half.width + x] as number);
    }
    spread(sums, full.values, y * full.width);
  }
  return full;
}

function spread(sums: Int32Array, to: Uint8Array, at: number): void {
  for (let x = 0; x < sums.length; x++) {
    const here = sums[x] as number;
    const left = x > 0 ? (sums[x - 1] as number) : here;
    const right = x + 1 < sums.length ? (sums[x + 1] as number) : here;
    to[at + 2 * x] = (3 * here + left + 8) >> 4;
    to[at + 2 * x + 1] = (3 * here + right + 7) >> 4;
  }
}

/* Blocks: jfdctint.c, jcdctmgr.c, jidctint.c; 13 bits behind the point, 2 between the passes. */

const BITS = 13;
const PASS = 2;
const [C0298, C0390, C0541, C0765] = [2446, 3196, 4433, 6270];
const [C0899, C1175, C1501, C1847] = [7373, 9633, 12299, 15137];
const [C1961, C2053, C2562, C3072] = [16069, 16819, 20995, 25172];

/** Round each block of the plane to these steps, in the frequency domain. */
function lose(of: Plane, steps: Int32Array): void {
  const block = new Int32Array(BLOCK * BLOCK);
  for (let top = 0; top < of.height; top += BLOCK) {
    for (let left = 0; left < of.width; left += BLOCK) {
      take(of, left, top, block);
      loseOf(block, steps);
      put(of, left, top, block);
    }
  }
}

function loseOf(block: Int32Array, steps: Int32Array): void {
  for (let row = 0; row < BLOCK; row++) forward(block, row * BLOCK, 1, BITS - PASS, PASS);
  for (let column = 0; column < BLOCK; column++) forward(block, column, BLOCK, BITS + PASS, -PASS);
  rounded(block, steps);
  for (let column = 0; column < BLOCK; column++) inverse(block, column, BLOCK, BITS - PASS);
  for (let row = 0; row < BLOCK; row++) inverse(block, row * BLOCK, 1, BITS + PASS + 3);
}

function take(from: Plane, left: number, top: number, block: Int32Array): void {
  for (let y = 0, at = 0; y < BLOCK; y++) {
    const start = (top + y) * from.width + left;
    for (let x = 0; x < BLOCK; x++) block[at++] = (from.values[start + x] as number) - 128;
  }
}

function put(to: Plane, left: number, top: number, block: Int32Array): void {
  for (let y = 0, at = 0; y < BLOCK; y++) {
    const start = (top + y) * to.width + left;
    for (let x = 0; x < BLOCK; x++) {
      const value = (block[at++] as number) + 128;
      to.values[start + x] = Math.max(0, Math.min(255, value));
    }
  }
}

/** Coefficients are eight times what their name says, so the steps are too. */
function rounded(block: Int32Array, steps: Int32Array): void {
  for (let at = 0; at < block.length; at++) {
    const [value, step] = [block[at] as number, steps[at] as number];
    const size = Math.trunc((Math.abs(value) + 4 * step) / (8 * step)) * step;
    block[at] = value < 0 ? -size : size;
  }
}

const scaled = (value: number, bits: number): number => (value + (1 << (bits - 1))) >> bits;
/** Up by `bits`, or down and rounded where they are negative. */
const moved = (value: number, bits: number): number =>
  bits < 0 ? scaled(value, -bits) : value << bits;

/** One line of the DCT, in place; `even`: bits by which sums move, the rest comes down by `down`. */
function forward(line: Int32Array, at: number, step: number, down: number, even: number): void {
  const v = (index: number) => line[at + index * step] as number;
  const set = (index: number, value: number) => {
    line[at + index * step] = value;
  };
  const [s0, s1, s2, s3] = [v(0) + v(7), v(1) + v(6), v(2) + v(5), v(3) + v(4)];
  const [d0, d1, d2, d3] = [v(0) - v(7), v(1) - v(6), v(2) - v(5), v(3) - v(4)];
  const [e0, e1, e2, e3] = [s0 + s3, s1 + s2, s1 - s2, s0 - s3];
  set(0, moved(e0 + e1, even));
  set(4, moved(e0 - e1, even));
  const middle = (e2 + e3) * C0541;
  set(2, scaled(middle + e3 * C0765, down));
  set(6, scaled(middle - e2 * C1847, down));
  const z5 = (d3 + d1 + (d2 + d0)) * C1175;
  const [z1, z2] = [(d3 + d0) * -C0899, (d2 + d1) * -C2562];
  const [z3, z4] = [(d3 + d1) * -C1961 + z5, (d2 + d0) * -C0390 + z5];
  set(7, scaled(d3 * C0298 + z1 + z3, down));
  set(5, scaled(d2 * C2053 + z2 + z4, down));
  set(3, scaled(d1 * C3072 + z2 + z3, down));
  set(1, scaled(d0 * C1501 + z1 + z4, down));
}

/** One line of the inverse DCT, in place; all comes down by `down` bits. */
function inverse(line: Int32Array, at: number, step: number, down: number): void {
  const v = (index: number) => line[at + index * step] as number;
  const middle = (v(2) + v(6)) * C0541;
  const [t2, t3] = [middle - v(6) * C1847, middle + v(2) * C0765];
  const [t0, t1] = [(v(0) + v(4)) << BITS, (v(0) - v(4)) << BITS];
  const evens = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
  const z5 = (v(7) + v(3) + (v(5) + v(1))) * C1175;
  const [z1, z2] = [(v(7) + v(1)) * -C0899, (v(5) + v(3)) * -C2562];
  const [z3, z4] = [(v(7) + v(3)) * -C1961 + z5, (v(5) + v(1)) * -C0390 + z5];
  const odds = [
    v(1) * C1501 + z1 + z4,
    v(3) * C3072 + z2 + z3,
    v(5) * C2053 + z2 + z4,
    v(7) * C0298 + z1 + z3,
  ];
  for (let index = 0; index < 4; index++) {
    const [even, odd] = [evens[index] as number, odds[index] as number];
    line[at + index * step] = scaled(even + odd, down);
    line[at + (7 - index) * step] = scaled(even - odd, down);
  }
}
