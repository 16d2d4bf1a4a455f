/** PNG files made of raw rows: nothing binary is committed, and Node has no encoder of its own. */
import { crc32, deflateSync } from "node:zlib";

/** Kinds of pixels, as a PNG's header has them; 8 bits a channel. */
export const GREY = 0;
export const RGB = 2;

export interface Raw {
  width: number;
  height: number;
  kind: typeof GREY | typeof RGB;
  /** Each row begins with its filter: 0, which is none. */
  rows: Buffer;
}

export function png({ width, height, kind, rows }: Raw): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, kind, 0, 0, 0], 8);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const pixels = deflateSync(rows, { level: 1 });
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND")]);
}

/** A chunk of a PNG; one of an unknown name is passed over by whoever reads it. */
export function chunk(name: string, data = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}
