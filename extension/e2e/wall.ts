/**
 * A site of pictures of one grey, as many as wanted and no two alike, in pages made by the tests.
 *
 *     /NAME    a page that was put up
 *     /at/GREY/N.png   picture N of this grey         /hills/N.png   hills, of one megapixel
 *
 * White is likely AI, black is not, for the detector that measures brightness. Browsers keep no
 * picture, so that what is asked for can be counted, and can be held back. One server for all hosts.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { landscape, picture } from "./pictures.ts";

/** No verdict is sure of what is lower than 224. */
const HEIGHT = 300;

export interface Wall {
  port: number;
  /** Put up a page: what stands in its body, and its head. */
  page(name: string, body: string, head?: string): void;
  /** Paths of pictures, each as often as it was asked for. */
  asked: string[];
  /** Answer for no picture until `release`. */
  hold(): void;
  release(): void;
  stop(): Promise<void>;
}

export async function startWall(): Promise<Wall> {
  const pages = new Map<string, string>();
  const drawn = new Map<string, Buffer>();
  const asked: string[] = [];
  let gate = Promise.resolve();
  let open = () => {};
  const serve = async ({ url = "" }: IncomingMessage, response: ServerResponse) => {
    const shown = pages.get(url.slice(1));
    if (shown !== undefined) return void answer(response, "text/html; charset=utf-8", shown);
    const image = drawn.get(url) ?? draw(url);
    if (image === null) return void response.writeHead(404).end();
    drawn.set(url, image);
    asked.push(url);
    await gate;
    answer(response, "image/png", image);
  };
  const site = createServer((request, response) => void serve(request, response));
  await new Promise<void>((done) => site.listen(0, "127.0.0.1", done));
  return {
    port: (site.address() as AddressInfo).port,
    asked,
    page: (name, body, head = "") => {
      const start = `<!doctype html><html lang="en"><title>${name}</title>`;
      pages.set(name, `${start}<meta charset="utf-8">${head}<body>${body}</body></html>`);
    },
    hold: () => {
      gate = new Promise<void>((done) => {
        open = done;
      });
    },
    release: () => open(),
    stop: async () => {
      open();
      site.closeAllConnections();
      await new Promise((done) => site.close(done));
    },
  };
}

/** Each number is another width, so that no two are alike. */
function draw(url: string): Buffer | null {
  const [, kind, n] = url.match(/^\/(at\/\d+|hills)\/(\d+)\.png$/) ?? [];
  if (kind === "hills") return landscape(1150 + Number(n), 866);
  return kind ? picture(Number(kind.slice("at/".length)), 400 + Number(n), HEIGHT) : null;
}

function answer(response: ServerResponse, type: string, body: string | Buffer): void {
  response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" }).end(body);
}
