/**
 * picture -> what the model takes, as pinclip/preprocess.py does it. Pure.
 *
 *     RGB, upright
 *       |  canonical   cut, shrunk, one JPEG pass      (docs/decisions/0007)
 *       |  transform   shorter side to `size`, centre crop, normalised
 *       v
 *     3 x size x size float32
 *
 * How is not written here but in the model's file (`Preprocessing`), so that a model that was
 * fitted on another form is fed with that. Knows nothing of files, formats or models.
 */
import { jpegPassed } from "./jpeg";
import { type Picture, reduce, resize } from "./resample";

/** As meta.json has it; see pinclip/preprocess.py for what each number means. */
export interface Preprocessing {
  canonical: { short_side: number; long_ratio: number; quality: number; reducing_gap: number };
  size: number;
  mean: readonly number[];
  std: readonly number[];
}

/** JPEG quality of `reencoded`. */
const REENCODED_QUALITY = 70;

/** The model's input: three planes of `size` x `size`. */
export function prepare(picture: Picture, how: Preprocessing): Float32Array<ArrayBuffer> {
  return transform(canonical(picture, how.canonical), how);
}

/** The picture as a site might save it again: half its size, JPEG of quality 70. */
export function reencoded(picture: Picture): Picture {
  const width = Math.max(1, roundHalfEven(picture.width / 2));
  const height = Math.max(1, roundHalfEven(picture.height / 2));
  return jpegPassed(resize(picture, width, height), REENCODED_QUALITY);
}

function canonical(picture: Picture, form: Preprocessing["canonical"]): Picture {
  const cut = withinRatio(picture, form.long_ratio);
  const scale = form.short_side / Math.min(cut.width, cut.height);
  return jpegPassed(scale < 1 ? shrunk(cut, scale, form.reducing_gap) : cut, form.quality);
}

/** The middle of a picture that is longer than that. */
function withinRatio(picture: Picture, ratio: number): Picture {
  const limit = Math.max(1, Math.trunc(Math.min(picture.width, picture.height) * ratio));
  const width = Math.min(picture.width, limit);
  const height = Math.min(picture.height, limit);
  const left = Math.floor((picture.width - width) / 2);
  return crop(picture, left, Math.floor((picture.height - height) / 2), width, height);
}

/** Smaller by `scale`: most of a large step by box means, `gap` of it and the rest by bicubic. */
function shrunk(picture: Picture, scale: number, gap: number): Picture {
  const width = Math.max(1, roundHalfEven(picture.width * scale));
  const height = Math.max(1, roundHalfEven(picture.height * scale));
  const factorX = Math.trunc(picture.width / width / gap) || 1;
  const factorY = Math.trunc(picture.height / height / gap) || 1;
  if (factorX === 1 && factorY === 1) return resize(picture, width, height);
  const extent = { width: picture.width / factorX, height: picture.height / factorY };
  return resize(reduce(picture, factorX, factorY), width, height, extent);
}

function transform(picture: Picture, how: Preprocessing): Float32Array<ArrayBuffer> {
  const { size } = how;
  const short = Math.min(picture.width, picture.height);
  const width = Math.trunc((size * picture.width) / short);
  const height = Math.trunc((size * picture.height) / short);
  const [left, top] = [roundHalfEven((width - size) / 2), roundHalfEven((height - size) / 2)];
  return normalised(crop(resize(picture, width, height), left, top, size, size), how);
}

/** (value / 255 - mean) / std in float32, each step rounded as numpy does. */
function normalised(
  { rgb }: Picture,
  { size, mean, std }: Preprocessing,
): Float32Array<ArrayBuffer> {
  const area = size * size;
  const planes = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    const middle = Math.fround(mean[channel] as number);
    const spread = Math.fround(std[channel] as number);
    for (let at = 0; at < area; at++) {
      const share = Math.fround((rgb[at * 3 + channel] as number) / 255);
      planes[channel * area + at] = Math.fround(share - middle) / spread;
    }
  }
  return planes;
}

function crop(picture: Picture, left: number, top: number, width: number, height: number): Picture {
  if (width === picture.width && height === picture.height) return picture;
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const at = ((top + y) * picture.width + left) * 3;
    rgb.set(picture.rgb.subarray(at, at + width * 3), y * width * 3);
  }
  return { width, height, rgb };
}

/** Round as Python does: a half goes to the even neighbour. */
function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}
