import { afterEach, beforeEach, expect, test } from "vitest";
import { manualWorld, message, type Reply, Server } from "../testing/world";
import { test as ask } from "./connection";
import { DEFAULTS } from "./store";

let server: Server;
beforeEach(async () => {
  server = await new Server().start();
});
afterEach(() => server.stop());

const around = { ...manualWorld(), isOnline: true };
const asked = (backend = server.url) => ask({ ...DEFAULTS, backend, key: "pk_1" }, around);
const key = { body: message("key") };
const given = (keyAnswer: Reply, models: Reply = { body: message("models") }) => {
  server.answer = ({ path }) => (path === "/v1/key" ? keyAnswer : models);
};
const problem = (id: string) => {
  const body = message(`problem-${id}`);
  return { status: body.status as number, body };
};

test("a server with a model is ready", async () => {
  given(key);

  expect(await asked()).toEqual({ cause: "ready", detail: "fixed" });
});

test("a server without a model says so", async () => {
  given(key, { body: { data: [] } });

  expect((await asked()).cause).toBe("no_model");
});

test.each([
  ["auth-missing", "key_missing"],
  ["auth-invalid", "key_wrong"],
  ["key-revoked", "key_wrong"],
  ["origin-not-allowed", "origin_unknown"],
  ["store-unavailable", "busy"],
  ["rate-limited", "busy"],
])("%s means %s", async (id, cause) => {
  given(problem(id));

  expect((await asked()).cause).toBe(cause);
});

test.each([
  ["a page", { body: "<html>" }],
  ["a page of an error", { status: 404, body: "<html>" }],
])("%s is not pinclip", async (_, reply) => {
  given(reply);

  expect((await asked()).cause).toBe("not_pinclip");
});

test("an answer that may not be read means that the server does not know this extension", async () => {
  const blind = {
    ...around,
    fetch: (async (input, init) => {
      if (init?.mode !== "no-cors") throw new TypeError("Failed to fetch");
      return fetch(input as string);
    }) as typeof fetch,
  };

  const finding = await ask({ ...DEFAULTS, backend: server.url }, blind);

  expect(finding.cause).toBe("origin_unknown");
});

test("silence on the user's own machine is told apart from silence elsewhere", async () => {
  const dead = server.url;
  await server.stop();

  expect((await asked(dead)).cause).toBe("unreachable_local");
  await server.start();
});

test.each([
  ["not an address", "address_invalid"],
  ["ftp://host.example", "address_invalid"],
  ["https://me:secret@host.example", "address_invalid"],
  ["http://host.example", "address_insecure"],
])("%s is %s, and nothing is sent", async (backend, cause) => {
  expect((await asked(backend)).cause).toBe(cause);
  expect(server.asked).toEqual([]);
});
