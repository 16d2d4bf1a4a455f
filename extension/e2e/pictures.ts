/**
 * Pictures of one grey, for a detector that measures brightness (white scores 1, black 0), and a
 * site that shows them: under `open.example` scripts of other sites may read them, else not.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { crc32, deflateSync } from "node:zlib";

/** A PNG of `width` x `height` pixels, all of this brightness. */
export function picture(brightness: number, width = 400, height = 300): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8); // 8-bit grey
  const rows = Buffer.alloc((width + 1) * height, brightness);
  for (let row = 0; row < height; row++) rows[row * (width + 1)] = 0; // no filter
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const parts = [chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND")];
  return Buffer.concat([signature, ...parts]);
}

function chunk(name: string, data = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const check = Buffer.alloc(4);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}

export interface Pictures {
  port: number;
  /** host/name of each picture that was asked for. */
  asked: string[];
  stop(): Promise<void>;
}

export async function startPictures(): Promise<Pictures> {
  const shown: Record<string, Buffer> = { "/white.png": picture(255), "/grey.png": picture(128) };
  const asked: string[] = [];
  const site = createServer(({ url = "", headers: { host = "" } }, response) => {
    asked.push(host + url);
    const body = shown[url];
    const isOpen = host === "open.example";
    response.writeHead(body ? 200 : 404, {
      "Content-Type": "image/png",
      ...(isOpen ? { "Access-Control-Allow-Origin": "*" } : {}),
    });
    response.end(body);
  });
  await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
  return {
    port: (site.address() as AddressInfo).port,
    asked,
    stop: async () => {
      site.closeAllConnections();
      await new Promise((done) => site.close(done));
    },
  };
}
