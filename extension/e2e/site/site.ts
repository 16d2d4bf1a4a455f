/**
 * The fixture site: a few names on loopback, a page for each thing that images do on the web.
 *
 *     site.example     the pages (pages/), at /NAME; / lists them
 *     cdn.example      images, which scripts of the pages may not read
 *     other.example    frames of another site
 *     shut.example     images of a host that tests give no access to
 *     printer.local, 10.0.0.1   the own network, where nothing may be read unasked
 *
 * All are one server, which tells them apart by the Host header and writes down every request.
 * It lets no script of another site read anything: there is no CORS header.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Answer, answerImage, type State, text } from "./answers.ts";
import { BYTES } from "./pages/bytes.ts";
import { HOSTILE } from "./pages/hostile.ts";
import { type Rows, written } from "./pages/row.ts";
import { SHOWN } from "./pages/shown.ts";

export const ROWS: Rows = { ...SHOWN, ...BYTES, ...HOSTILE };
const NAMES = [
  "site.example",
  "cdn.example",
  "other.example",
  "shut.example",
  "printer.local",
  "10.0.0.1",
];

/** As a browser asks for an image of site.example's pages. */
const READER = {
  accept: "image/avif,image/webp,*/*;q=0.8",
  referer: "http://site.example/",
  cookie: "reader=1",
};

export interface Asked {
  host: string;
  path: string;
  headers: IncomingMessage["headers"];
}

export interface Site {
  port: number;
  /** For startBrowser(): each name, and the port that it is found at. */
  hosts: Record<string, number>;
  /** Every request so far; empty it to count anew. */
  asked: Asked[];
  /** From now on /current/NAME is another picture. */
  turn(): void;
  /** What the site gives a browser that shows its pages, for an image's address, now. */
  bytesAt(address: string): Buffer;
  stop(): Promise<void>;
}

export async function startSite(port = 0): Promise<Site> {
  const asked: Asked[] = [];
  const state: State = { turn: 0, given: new Set() };
  const server = createServer((request, response) => {
    const { url = "", headers } = request;
    asked.push({ host: headers.host ?? "", path: url, headers });
    send(answer(request, state), response);
  });
  await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
  const bound = (server.address() as AddressInfo).port;
  return {
    port: bound,
    hosts: Object.fromEntries(NAMES.map((name) => [name, bound])),
    asked,
    turn: () => void state.turn++,
    bytesAt: (address) => {
      const fresh = { ...state, given: new Set<string>() };
      return answerImage(new URL(address).pathname, READER, fresh).body;
    },
    stop: () => stopped(server),
  };
}

async function stopped(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
}

function answer({ url = "", headers }: IncomingMessage, state: State): Answer {
  const path = url.split("?")[0] ?? "";
  const row = Object.hasOwn(ROWS, path.slice(1)) ? ROWS[path.slice(1)] : undefined;
  if (path === "/") return page(index(), {});
  if (row) return page(written(row, path.slice(1)), row.headers ?? {});
  return answerImage(url, headers, state);
}

function page(html: string, headers: Record<string, string>): Answer {
  const type = { "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store" };
  return { ...text(200, html), headers: { ...type, ...headers } };
}

function index(): string {
  const links = Object.entries(ROWS).map(
    ([name, { says }]) => `<li><a href="/${name}">${name}</a>: ${says}</li>`,
  );
  const says = "What images do on the web, a page each.";
  return written({ says, html: `<ul>${links.join("\n")}</ul>` }, "pinclip's fixture site");
}

function send({ status, headers, body, waitMs }: Answer, response: ServerResponse): void {
  const give = () => response.writeHead(status, headers).end(body);
  if (waitMs === 0) give();
  else setTimeout(give, waitMs);
}
