/**
 * What stands between the extension and the real server, to hold a request, or to answer instead.
 *
 *     extension --> relay --> server     hold("POST /v1/uploads"): those wait until release()
 *                                        refuse(503, problem): an answer of its own, as the server's
 *                                        offline(): nobody listens any more
 *
 * It passes on what it gets, CORS and all, so everything else is between the two.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Relay {
  url: string;
  /** METHOD and path of every request but preflights, without their queries. */
  asked: string[];
  /** Hold requests that begin so; resolves once the first is held. */
  hold(start: string): Promise<void>;
  release(): void;
  /** Answer all but preflights with this; null: pass them on again. */
  refuse(problem: { status: number; body: object } | null): void;
  offline(): Promise<void>;
  online(): Promise<void>;
}

export async function startRelay(server: string): Promise<Relay> {
  const asked: string[] = [];
  let held: { start: string; began: () => void; gate: Promise<void>; open: () => void } | null =
    null;
  let refusal: { status: number; body: object } | null = null;

  const serve = async (given: IncomingMessage, response: ServerResponse) => {
    const body = await bodyOf(given);
    const name = `${given.method} ${(given.url ?? "").split("?")[0]}`;
    // What a browser asks beforehand is between the two, always.
    if (given.method === "OPTIONS") return pass(server, given, body, response);
    asked.push(name);
    if (held && name.startsWith(held.start)) {
      held.began();
      await held.gate;
    }
    if (refusal) refuse(response, refusal, given.headers.origin ?? "*");
    else pass(server, given, body, response);
  };

  const http = createServer((given, response) => void serve(given, response));
  const listen = (port: number) =>
    new Promise<void>((done) => http.listen(port, "127.0.0.1", done));
  await listen(0);
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    hold: (start) =>
      new Promise((began) => {
        let open = () => {};
        const gate = new Promise<void>((done) => {
          open = done;
        });
        held = { start, began, gate, open };
      }),
    release: () => {
      held?.open();
      held = null;
    },
    refuse: (problem) => {
      refusal = problem;
    },
    offline: async () => {
      http.closeAllConnections();
      await new Promise((done) => http.close(done));
    },
    online: () => listen(port),
  };
}

async function bodyOf(given: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of given) parts.push(part);
  return Buffer.concat(parts);
}

function refuse(
  response: ServerResponse,
  { status, body }: { status: number; body: object },
  origin: string,
): void {
  response.writeHead(status, {
    "Content-Type": "application/problem+json",
    "Access-Control-Allow-Origin": origin,
  });
  response.end(JSON.stringify({ status, ...body }));
}

function pass(server: string, given: IncomingMessage, body: Buffer, response: ServerResponse) {
  const { method = "GET", url = "", headers } = given;
  const on = request(`${server}${url}`, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  on.on("error", () => response.destroy()); // the server went, or who asked did
  response.on("close", () => on.destroy());
  on.end(body);
}
