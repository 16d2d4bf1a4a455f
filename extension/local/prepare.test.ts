import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { vectors } from "../testing/world";
import { prepare, reencoded } from "./prepare";
import type { Picture } from "./resample";

const { preprocessing, pictures } = vectors("local");

interface Drawn {
  id: string;
  prepared: string;
  reencoded: string;
  prepared_again: string;
  width: number;
  height: number;
  noise: number;
  slope: number;
}

/** As tests/test_local_tier.py draws it. */
function drawn({ width, height, noise, slope }: Drawn): Picture {
  let seed = 1;
  const grain = Array.from({ length: 4093 }, () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(((seed >>> 24) * noise) / 256);
  });
  const rgb = new Uint8Array(width * height * 3);
  for (let at = 0; at < rgb.length; at++) {
    const [channel, x, y] = [at % 3, Math.floor(at / 3) % width, Math.floor(at / 3 / width)];
    const rough = grain[(y * 997 + x * 3 + channel) % grain.length] as number;
    rgb[at] = (x * slope + Math.floor((y * slope) / 2) + channel * 64 + rough) % 256;
  }
  return { width, height, rgb };
}

const sha256 = ({ buffer }: { buffer: ArrayBuffer }) =>
  createHash("sha256").update(new Uint8Array(buffer)).digest("hex");

describe.each(pictures as Drawn[])("the picture $id", (given) => {
  const picture = drawn(given);

  test("becomes the very input that the server gives its model", () => {
    expect(sha256(prepare(picture, preprocessing))).toBe(given.prepared);
  });

  test("is saved again as the server does it", () => {
    const again = reencoded(picture);

    expect(sha256(again.rgb)).toBe(given.reencoded);
    expect(sha256(prepare(again, preprocessing))).toBe(given.prepared_again);
  });
});
