/**
 * The pictures of the fixture site, by name. Owns how they are drawn; knows nothing of requests.
 *
 *     bright-7.png            PNG of 400 x 300, grey squares by the name: no two names alike
 *     dark-cat-800x600.png    of another size
 *     bright.jpeg ...         formats that Node has no encoder for: drawn by draw.py, once
 *
 * Bright ones score near 1 with the detector that measures brightness, dark ones near 0.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { crc32 } from "node:zlib";
import { GREY, png } from "../png.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
const PYTHON = join(ROOT, ".venv/bin/python");
const GRAIN_PX = 16;
const LIGHT: Record<string, number> = { bright: 235, dark: 0 };

/** The picture of this name, or null if no such name can be drawn. */
export function image(name: string): Buffer | null {
  const [, light = "", , width = "400", height = "300"] =
    name.match(/^(bright|dark)-([\w-]*?)(?:-(\d+)x(\d+))?\.png$/) ?? [];
  if (light) {
    const size = { width: Number(width), height: Number(height) };
    return png({ ...size, kind: GREY, rows: grain(name, LIGHT[light] as number, size) });
  }
  return drawn()[name] ?? null;
}

/** Its type, from how the name ends. */
export function typeOf(name: string): string {
  return name.endsWith(".svg") ? "image/svg+xml" : `image/${name.split(".").at(-1)}`;
}

/** Rows of squares; each begins with a byte that says "no filter". */
function grain(
  seed: string,
  darkest: number,
  { width, height }: { width: number; height: number },
): Buffer {
  const rows = Buffer.alloc((width + 1) * height);
  let state = crc32(Buffer.from(seed));
  for (let top = 0; top < height; top += GRAIN_PX) {
    const row = Buffer.alloc(width + 1);
    for (let left = 0; left < width; left += GRAIN_PX) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      row.fill(darkest + ((state >>> 24) % 21), left + 1, Math.min(left + GRAIN_PX, width) + 1);
    }
    for (let y = top; y < Math.min(top + GRAIN_PX, height); y++) row.copy(rows, y * (width + 1));
  }
  return rows;
}

let formats: Record<string, Buffer> | null = null;

function drawn(): Record<string, Buffer> {
  formats ??= existsSync(PYTHON) ? byPillow() : {};
  return formats;
}

function byPillow(): Record<string, Buffer> {
  const said = execFileSync(PYTHON, [join(import.meta.dirname, "draw.py")], { encoding: "utf8" });
  const pictures = Object.entries(JSON.parse(said) as Record<string, string>);
  return Object.fromEntries(pictures.map(([name, text]) => [name, Buffer.from(text, "base64")]));
}
