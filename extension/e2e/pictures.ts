/**
 * Pictures of one grey, for a detector that measures brightness (white scores 1, black 0), one of a
 * landscape for a real model, and a site that shows the greys: under `open.example` scripts of other
 * sites may read them, else not.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { GREY, png, RGB } from "./png.ts";

/** A PNG of `width` x `height` pixels, all of this brightness. */
export function picture(brightness: number, width = 400, height = 300): Buffer {
  const rows = Buffer.alloc((width + 1) * height, brightness);
  for (let row = 0; row < height; row++) rows[row * (width + 1)] = 0; // no filter
  return png({ width, height, kind: GREY, rows });
}

/** A PNG of hills under a sun, for a model that looks at more than brightness. */
export function landscape(width = 640, height = 480): Buffer {
  const rows = Buffer.alloc((width * 3 + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      rows.set(colourAt(x / width, y / height), y * (width * 3 + 1) + 1 + x * 3);
    }
  }
  return png({ width, height, kind: RGB, rows });
}

function colourAt(x: number, y: number): [number, number, number] {
  const grain = ((x * 7919 + y * 104729) % 1) * 24;
  if (Math.hypot(x - 0.7, y - 0.25) < 0.08) return [250, 220, 130];
  if (y > 0.6 + 0.1 * Math.sin(x * 9)) return [40 + grain, 90 + 60 * x, 45];
  if (y > 0.45 + 0.08 * Math.sin(x * 5 + 1)) return [90, 100 + grain, 120];
  return [120 + 80 * y, 160 + 50 * y, 230 - grain];
}

export interface Pictures {
  port: number;
  /** host/name of each picture that was asked for. */
  asked: string[];
  stop(): Promise<void>;
}

/** A page that shows the white one. */
const PAGE = Buffer.from('<!doctype html><title>a page</title><img src="/white.png" alt="">');

export async function startPictures(): Promise<Pictures> {
  const shown: Record<string, Buffer> = {
    "/white.png": picture(255),
    "/grey.png": picture(128),
    "/page": PAGE,
  };
  const asked: string[] = [];
  const site = createServer(({ url = "", headers: { host = "" } }, response) => {
    asked.push(host + url);
    const body = shown[url];
    const isOpen = host === "open.example";
    response.writeHead(body ? 200 : 404, {
      "Content-Type": body === PAGE ? "text/html" : "image/png",
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
