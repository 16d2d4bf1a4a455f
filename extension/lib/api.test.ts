import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { manualWorld, message, Server } from "../testing/world";
import { Client } from "./api";
import * as errors from "./errors";

let server: Server;
let world: ReturnType<typeof manualWorld>;
let client: Client;

beforeEach(async () => {
  server = await new Server().start();
  world = manualWorld();
  client = new Client(`${server.url}/`, "pk_test", world);
});
afterEach(() => server.stop());

const problem = (id: string, headers: Record<string, string> = {}) => {
  const body = message(`problem-${id}`);
  return { status: body.status as number, headers, body };
};

test("a range look-up tells five digits, the operating point and the key", async () => {
  server.answer = () => ({ body: message("hash-range") });

  const range = await client.lookupRange("692d7", "strict");

  expect(range.data[0]?.verdict).toBe("likely_ai");
  expect(server.asked[0]?.path).toBe("/v1/lookups/range/692d7?operating_point=strict");
  expect(server.asked[0]?.headers.authorization).toBe("Bearer pk_test");
  expect(server.asked[0]?.headers.referer).toBeUndefined();
});

test("a range look-up never takes more than five digits", async () => {
  await expect(client.lookupRange("692d7a", "strict")).rejects.toThrow(errors.InputError);

  expect(server.asked).toEqual([]);
});

test("an upload sends the bytes as they are", async () => {
  server.answer = () => ({ status: 201, body: message("upload") });

  await client.upload(new Uint8Array([0, 255, 10, 13]));

  expect([...(server.asked[0]?.body ?? [])]).toEqual([0, 255, 10, 13]);
});

test("wait asks again until the scan is final", async () => {
  const given = [message("scan-queued"), message("scan-scoring"), message("scan-likely-ai")];
  server.answer = () => ({ body: given[server.asked.length - 1] });

  const scan = await client.wait("scan_1");

  expect(scan.verdict).toBe("likely_ai");
  expect(server.asked.map((one) => one.headers.prefer)).toEqual(["wait=20", "wait=20", "wait=20"]);
});

test("wait gives up in the end, and says so", async () => {
  server.answer = () => ({ body: message("scan-queued") });

  await expect(client.wait("scan_1", 3)).rejects.toThrow(errors.ScanTimeout);
});

test("a scan that failed is an error with the scan's code, never a verdict", async () => {
  server.answer = () => ({ body: message("scan-not-image") });

  await expect(client.wait("scan_1")).rejects.toMatchObject({
    name: "ScanFailed",
    code: "not_an_image",
  });
});

test("a request that was refused for a time is sent again with the same key, not sooner", async () => {
  const given = [problem("rate-limited", { "Retry-After": "7" }), { body: message("scan-queued") }];
  server.answer = () => given[server.asked.length - 1] ?? {};

  await client.submit({ upload_id: "upl_1" });

  expect(world.slept).toEqual([7]);
  const keys = server.asked.map((one) => one.headers["idempotency-key"]);
  expect(keys).toEqual(['"11111111-2222-3333-4444-555555555555"', keys[0]]);
});

test.each([11, 3600])("a Retry-After of %i s is left to the user", async (retryAfter) => {
  server.answer = () => problem("rate-limited", { "Retry-After": String(retryAfter) });

  await expect(client.models()).rejects.toMatchObject({ name: "RateLimitError", retryAfter });

  expect(server.asked.length).toBe(1);
});

test("a busy server is asked three times, and then is an error", async () => {
  server.answer = () => problem("queue-full");

  await expect(client.models()).rejects.toMatchObject({ code: "queue_full" });

  expect(world.slept).toEqual([0.5, 1]);
});

test("a report says what a person says, once however often it is sent", async () => {
  const body = {
    ...{ id: "fbk_1", scan_id: "scan_1", label: "not_ai", comment: "Mine.", sha256: null },
    ...{ verdict: "likely_ai", created_at: "2026-11-26T00:00:00Z" },
  };
  const given = [problem("queue-full"), { status: 201, body }];
  server.answer = () => given[server.asked.length - 1] ?? {};

  const kept = await client.feedback("scan_1", { label: "not_ai", comment: "Mine." });

  expect(kept).toMatchObject({ id: "fbk_1", verdict: "likely_ai" });
  expect(server.paths()).toEqual(Array(2).fill("POST /v1/scans/scan_1/feedback"));
  expect(JSON.parse(String(server.asked[1]?.body))).toEqual({ label: "not_ai", comment: "Mine." });
  const keys = server.asked.map((one) => one.headers["idempotency-key"]);
  expect(keys[0]).toBe(keys[1]);
});

describe("refusals have the SDK's names", () => {
  test.each([
    ["invalid-parameter", errors.BadRequestError, "invalid_parameter"],
    ["auth-invalid", errors.AuthenticationError, "auth_invalid"],
    ["origin-not-allowed", errors.PermissionDeniedError, "origin_not_allowed"],
    ["not-found", errors.NotFoundError, "not_found"],
    ["state-conflict", errors.ConflictError, "state_conflict"],
    ["address-blocked", errors.UnprocessableEntityError, "address_blocked"],
    ["internal", errors.InternalServerError, "internal"],
  ])("%s", async (id, kind, code) => {
    server.answer = () => problem(id);

    const error = await client.key().catch((caught: unknown) => caught);

    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject({ code });
  });
});

test("another program's page is not taken for an answer", async () => {
  server.answer = () => ({ body: "<html>router</html>" });

  await expect(client.health()).rejects.toThrow(errors.APIResponseValidationError);
});

test("a redirect is not followed: the key goes to no other address", async () => {
  const other = await new Server().start();
  server.answer = () => ({ status: 302, headers: { Location: `${other.url}/v1/key` } });

  await expect(client.key()).rejects.toThrow(errors.APIConnectionError);

  expect(other.asked).toEqual([]);
  await other.stop();
});

test("no answer is tried again and then is a connection error", async () => {
  await server.stop();

  await expect(client.health()).rejects.toThrow(errors.APIConnectionError);

  expect(world.slept.length).toBe(2);
  await server.start();
});
