/**
 * The one door to the server: the verbs of the SDK that this extension needs, and its retries.
 *
 *     lookupRange(prefix)  five digits of a checksum go out, all that is known of them comes back
 *     upload(bytes) -> submit({upload_id}) -> wait(id): polls of 20 s, so that a worker that the
 *                                             browser ends after 30 s is never in need of more
 *     feedback, appeal     what a person says to a verdict
 *     health, key, models  what the connection test asks
 *
 * Redirects are not followed and cookies are not sent, so the key goes to the address that was
 * set and nowhere else. Time, chance and fetch are given. Knows nothing of the browser's
 * extension API, of storage or of words.
 */
import type * as v from "valibot";
import {
  APIConnectionError,
  APIError,
  APIResponseValidationError,
  type APIStatusError,
  APITimeoutError,
  InputError,
  ofStatus,
  ScanFailed,
  ScanTimeout,
} from "./errors";
import { delay, mayRetry, readRetryAfter } from "./retry";
import * as wire from "./wire";

export const UPLOAD_LIMIT_BYTES = 20 * 1024 * 1024;
/** The browser ends a worker whose fetch has no answer within 30 s. */
export const POLL_SECONDS = 20;
const TIMEOUT_SECONDS = 25;
const MAX_RETRIES = 2;
/** Whoever looks at an image would rather be told than wait longer, and a worker may not outlive it. */
const MAX_PAUSE_SECONDS = 10;
const FINAL = new Set(["completed", "failed", "canceled"]);

/** What of the world is needed; `world()` is the real one. */
export interface World {
  fetch: typeof fetch;
  sleep(seconds: number): Promise<void>;
  random(): number;
  uuid(): string;
  /** Seconds, from any beginning. */
  now(): number;
}

export function world(): World {
  return {
    fetch: (input, init) => fetch(input, init),
    sleep: (seconds) => new Promise((done) => setTimeout(done, seconds * 1000)),
    random: () => Math.random(),
    uuid: () => crypto.randomUUID(),
    now: () => performance.now() / 1000,
  };
}

interface Call<T extends v.GenericSchema> {
  method: "GET" | "POST";
  path: string;
  reads: T;
  body?: string | Uint8Array<ArrayBuffer>;
  headers?: Record<string, string>;
  waitSeconds?: number;
}

interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

export class Client {
  readonly #base: string;
  readonly #key: string;
  readonly #world: World;

  /** `baseUrl` is the server's address up to but without /v1; `key` may be empty. */
  constructor(baseUrl: string, key: string, given: World = world()) {
    this.#base = baseUrl.replace(/\/+$/, "");
    this.#key = key;
    this.#world = given;
  }

  /** All that is known of bytes whose sha256 begins with these five hex digits. */
  async lookupRange(prefix: string, point: wire.PointName): Promise<wire.HashRange> {
    if (!/^[0-9a-f]{5}$/.test(prefix)) {
      throw new InputError("input_invalid", `A look-up takes five hex digits, not ${prefix}.`);
    }
    const path = `/v1/lookups/range/${prefix}?operating_point=${point}`;
    return this.#send({ method: "GET", path, reads: wire.hashRange });
  }

  /** Hand over the bytes of an image, which the server keeps for 15 minutes. */
  async upload(bytes: Uint8Array<ArrayBuffer>): Promise<wire.Upload> {
    if (bytes.length === 0 || bytes.length > UPLOAD_LIMIT_BYTES) {
      throw new InputError("input_invalid", `An image of ${bytes.length} bytes cannot be sent.`);
    }
    const headers = { "Content-Type": "application/octet-stream" };
    return this.#send({
      method: "POST",
      path: "/v1/uploads",
      reads: wire.upload,
      body: bytes,
      headers,
    });
  }

  /** Ask for one scan; it need not be final. */
  async submit(request: Partial<wire.ScanRequest>): Promise<wire.Scan> {
    return this.#post("/v1/scans", wire.scan, request);
  }

  /** The scan as it is once final, or after `seconds`, at most POLL_SECONDS. */
  async get(scanId: string, seconds = 0): Promise<wire.Scan> {
    const path = `/v1/scans/${encodeURIComponent(scanId)}`;
    const headers: Record<string, string> = seconds > 0 ? { Prefer: `wait=${seconds}` } : {};
    return this.#send({ method: "GET", path, reads: wire.scan, headers, waitSeconds: seconds });
  }

  /** The scan with its verdict. Throws ScanFailed, or ScanTimeout after `seconds`. */
  async wait(scanId: string, seconds = 120): Promise<wire.Scan> {
    const until = this.#world.now() + seconds;
    for (;;) {
      const began = this.#world.now();
      const scan = await this.get(scanId, POLL_SECONDS);
      if (FINAL.has(scan.status)) return finished(scan);
      if (this.#world.now() >= until) throw new ScanTimeout(scan);
      // A server that did not hold the request is not asked more often than once a second.
      await this.#world.sleep(Math.max(0, 1 - (this.#world.now() - began)));
    }
  }

  /** Have the server keep what a person says an image is in truth; it changes no verdict. */
  async feedback(
    scanId: string,
    said: { label: "ai" | "not_ai"; comment: string },
  ): Promise<wire.Feedback> {
    return this.#post(`/v1/scans/${encodeURIComponent(scanId)}/feedback`, wire.feedback, said);
  }

  /** Ask for a decision about a verdict. */
  async appeal(scanId: string, said: { reason: string }): Promise<wire.Appeal> {
    return this.#post(`/v1/scans/${encodeURIComponent(scanId)}/appeals`, wire.appeal, said);
  }

  async health() {
    return this.#send({ method: "GET", path: "/healthz", reads: wire.health });
  }

  async key() {
    return this.#send({ method: "GET", path: "/v1/key", reads: wire.keyFacts });
  }

  async models() {
    return this.#send({ method: "GET", path: "/v1/models", reads: wire.modelList });
  }

  async #post<T extends v.GenericSchema>(path: string, reads: T, said: object) {
    const headers = { "Content-Type": "application/json" };
    return this.#send({ method: "POST", path, reads, body: JSON.stringify(said), headers });
  }

  async #send<T extends v.GenericSchema>(call: Call<T>): Promise<v.InferOutput<T>> {
    const headers = this.#headers(call);
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#once(call, headers);
      const pause = attempt < MAX_RETRIES ? pauseBefore(outcome, attempt, this.#world) : null;
      if (pause === null || pause > MAX_PAUSE_SECONDS) return read(call, outcome);
      await this.#world.sleep(pause);
    }
  }

  #headers(call: Call<v.GenericSchema>): Record<string, string> {
    return {
      Accept: "application/json",
      ...call.headers,
      ...(this.#key ? { Authorization: `Bearer ${this.#key}` } : {}),
      // One key for all tries of a call: a second try is answered with what the first one made.
      ...(call.method === "POST" ? { "Idempotency-Key": `"${this.#world.uuid()}"` } : {}),
    };
  }

  async #once(
    call: Call<v.GenericSchema>,
    headers: Record<string, string>,
  ): Promise<Answer | APIError> {
    const seconds = TIMEOUT_SECONDS + (call.waitSeconds ? 4 : 0);
    try {
      const response = await this.#world.fetch(this.#base + call.path, {
        method: call.method,
        headers,
        body: call.body ?? null,
        credentials: "omit",
        redirect: "error",
        cache: "no-store",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(seconds * 1000),
      });
      return { status: response.status, headers: response.headers, text: await response.text() };
    } catch (error) {
      return noAnswer(call, error, seconds);
    }
  }
}

/** A final scan that has a verdict; throws ScanFailed for any other. */
export function finished(scan: wire.Scan): wire.Scan {
  if (scan.status === "completed" && scan.verdict !== null) return scan;
  throw new ScanFailed(scan);
}

function pauseBefore(outcome: Answer | APIError, attempt: number, given: World): number | null {
  if (outcome instanceof APIError) return delay(attempt, null, given.random());
  const code = outcome.status === 409 ? (problemOf(outcome)?.code ?? null) : null;
  if (outcome.status < 400 || !mayRetry(outcome.status, code)) return null;
  return delay(attempt, retryAfterOf(outcome), given.random());
}

function read<T extends v.GenericSchema>(
  call: Call<T>,
  outcome: Answer | APIError,
): v.InferOutput<T> {
  if (outcome instanceof APIError) throw outcome;
  if (outcome.status < 200 || outcome.status >= 300) throw refused(call, outcome);
  try {
    return wire.read(call.reads, JSON.parse(outcome.text));
  } catch (fault) {
    const what = `${shown(call)} was answered ${outcome.status}, but not as pinclip does`;
    throw new APIResponseValidationError("response_invalid", `${what}: ${String(fault)}`);
  }
}

function refused(call: Call<v.GenericSchema>, answer: Answer): APIStatusError {
  const problem = problemOf(answer);
  const message = problem
    ? problem.detail || problem.title
    : `${shown(call)} was answered ${answer.status} by something that is not pinclip.`;
  const requestId = problem?.request_id ?? answer.headers.get("x-request-id");
  const kind = ofStatus(answer.status);
  return new kind(answer.status, problem, message, requestId, retryAfterOf(answer));
}

function problemOf(answer: Answer): wire.Problem | null {
  try {
    return wire.readOrNull(wire.problem, JSON.parse(answer.text));
  } catch {
    return null;
  }
}

function retryAfterOf(answer: Answer): number | null {
  return readRetryAfter(answer.headers.get("retry-after"), answer.headers.get("date"));
}

function noAnswer(call: Call<v.GenericSchema>, error: unknown, seconds: number): APIError {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return new APITimeoutError("request_timeout", `${shown(call)} took more than ${seconds} s.`);
  }
  return new APIConnectionError("connection_failed", `${shown(call)} had no answer.`);
}

function shown(call: Call<v.GenericSchema>): string {
  return `${call.method} ${call.path.split("?")[0]}`;
}
