/**
 * What tests are made of: a real HTTP server that is told what to answer, time that moves when
 * told, and the texts of _locales. No mocks: what is tested sends real requests over loopback.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fakeBrowser } from "wxt/testing/fake-browser";
import type { World } from "../lib/api";

const VECTORS = join(import.meta.dirname, "../../tests/vectors");
const LOCALES = join(import.meta.dirname, "../public/_locales");

export interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: Buffer;
}
export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** A server on loopback: `answer` says what to give, `asked` what it was asked. */
export class Server {
  readonly asked: Asked[] = [];
  answer: (asked: Asked) => Reply = () => ({ status: 404 });
  readonly #http = createServer((request, response) => void this.#serve(request, response));
  url = "";

  async start(): Promise<this> {
    await new Promise<void>((done) => this.#http.listen(0, "127.0.0.1", done));
    this.url = `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.#http.closeAllConnections();
    await new Promise((done) => this.#http.close(done));
  }

  paths(): string[] {
    return this.asked.map((one) => `${one.method} ${one.path.split("?")[0]}`);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const { method = "", url = "", headers } = request;
    const asked = { method, path: url, headers, body: Buffer.concat(parts) };
    this.asked.push(asked);
    const { status = 200, headers: given = {}, body = "" } = this.answer(asked);
    const isRaw = typeof body === "string" || Buffer.isBuffer(body);
    const type = isRaw ? {} : { "Content-Type": "application/json" };
    response.writeHead(status, { ...type, ...given });
    response.end(isRaw ? body : JSON.stringify(body));
  }
}

/** A World whose time passes only where it is slept; `slept` is what was waited, in seconds. */
export function manualWorld(): World & { slept: number[] } {
  const slept: number[] = [];
  return {
    slept,
    fetch: (input, init) => fetch(input, init),
    sleep: async (seconds) => void slept.push(seconds),
    random: () => 0,
    uuid: () => "11111111-2222-3333-4444-555555555555",
    now: () => slept.reduce((sum, seconds) => sum + seconds, 0),
  };
}

/** One of the vectors that pytest reads too. */
// biome-ignore lint/suspicious/noExplicitAny: each test knows the shape of its own vectors
export function vectors(name: string): any {
  return JSON.parse(readFileSync(join(VECTORS, `${name}.json`), "utf8"));
}

/** The message of the vectors with this id. */
export function message(id: string): Record<string, unknown> {
  const found = vectors("wire").messages.find((one: { id: string }) => one.id === id);
  return structuredClone(found.body);
}

export const LANGUAGES = ["en", "de", "es", "fr"] as const;
export type Texts = Record<string, { message: string }>;

export function texts(language: string): Texts {
  return JSON.parse(readFileSync(join(LOCALES, language, "messages.json"), "utf8"));
}

/** Have the browser's i18n speak this language, by the rules of the real one. */
export function speak(language = "en"): void {
  const known = texts(language);
  fakeBrowser.i18n.getMessage = ((name: string, values: string[] = []) =>
    (known[name]?.message ?? "").replace(/\$(\d)/g, (_, n) => values[n - 1] ?? "")) as never;
}
