/**
 * bytes -> upright RGB, alpha over white: the very pixels that the server's decoder gives.
 *
 *     bytes -> createImageBitmap (colours as stored) -> canvas of our own -> RGBA -> over white
 *
 * null for what this browser leaves to the server: what it cannot decode, animations (the server
 * looks at several frames), sides out of the server's limits. The canvas belongs to an extension
 * page, but a browser may put noise into that too; one that does is found out and decodes nothing.
 */
import type { Bytes } from "../lib/images";
import type { Picture } from "./resample";

/** As worker/images.py has them. */
const SIDE = { least: 32, most: 16_384 };
const PIXEL_LIMIT = 40_000_000;

export async function decoded(bytes: Bytes): Promise<Picture | null> {
  if ((await isAnimated(bytes)) || !(await isHonest())) return null;
  // As stored: the server judges numbers, not colours, and so does the model.
  const how = { colorSpaceConversion: "none", premultiplyAlpha: "none" } as const;
  const bitmap = await createImageBitmap(new Blob([bytes]), how).catch(() => null);
  if (bitmap === null) return null;
  try {
    return fits(bitmap) ? overWhite(rgbaOf(bitmap)) : null;
  } finally {
    bitmap.close();
  }
}

function fits({ width, height }: ImageBitmap): boolean {
  const isLarge = width * height > PIXEL_LIMIT || Math.max(width, height) > SIDE.most;
  return !isLarge && Math.min(width, height) >= SIDE.least;
}

function rgbaOf(bitmap: ImageBitmap): ImageData {
  const { width, height } = bitmap;
  const pen = penOf(width, height);
  pen.globalCompositeOperation = "copy";
  pen.drawImage(bitmap, 0, 0);
  return pen.getImageData(0, 0, width, height);
}

function penOf(width: number, height: number): OffscreenCanvasRenderingContext2D {
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (pen === null) throw new Error("This browser gives no canvas to decode images with.");
  return pen;
}

/** What is transparent as a white page shows it, rounded as Pillow's paste does. */
function overWhite({ width, height, data }: ImageData): Picture {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const alpha = data[from + 3] as number;
    for (let channel = 0; channel < 3; channel++) {
      const mixed = (data[from + channel] as number) * alpha + 255 * (255 - alpha) + 128;
      rgb[to++] = ((mixed >> 8) + mixed) >> 8;
    }
  }
  return { width, height, rgb };
}

/** Whether there are several frames, or that cannot be told. */
async function isAnimated(bytes: Bytes): Promise<boolean> {
  const type = typeOf(bytes);
  if (type === null) return true;
  const decoder = new ImageDecoder({ data: bytes, type });
  try {
    await decoder.tracks.ready;
    return decoder.tracks.selectedTrack?.frameCount !== 1;
  } catch {
    return true;
  } finally {
    decoder.close();
  }
}

const STARTS: [RegExp, string][] = [
  [/^\xff\xd8\xff/, "image/jpeg"],
  [/^\x89PNG\r\n/, "image/png"],
  [/^GIF8[79]a/, "image/gif"],
  [/^RIFF.{4}WEBP/s, "image/webp"],
  [/^.{4}ftypavi[fs]/s, "image/avif"],
  [/^BM/, "image/bmp"],
];

function typeOf(bytes: Bytes): string | null {
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  return STARTS.find(([pattern]) => pattern.test(start))?.[1] ?? null;
}

const PROBE = 64;
let honest: boolean | null = null;

/** Whether a canvas gives back what was put into it. */
async function isHonest(): Promise<boolean> {
  if (honest !== null) return honest;
  const put = new ImageData(PROBE, PROBE);
  crypto.getRandomValues(put.data);
  for (let at = 3; at < put.data.length; at += 4) put.data[at] = 255;
  const got = rgbaOf(await createImageBitmap(put, { premultiplyAlpha: "none" })).data;
  honest = put.data.every((value, at) => value === got[at]);
  return honest;
}
