import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Server } from "../testing/world";
import { UPLOAD_LIMIT_BYTES } from "./api";
import { type Reading, readImage, sha256Of, target } from "./images";

let server: Server;
const reading: Reading = {
  fetch,
  mayBePrivate: true,
  withCookies: false,
  site: null,
  isGranted: async () => true,
  withReferer: async (_, site, work) => {
    said = site;
    return work().finally(() => {
      said = null;
    });
  },
};
/** The site that the browser was told to name, while it was. */
let said: string | null = null;

beforeEach(async () => {
  server = await new Server().start();
});
afterEach(() => server.stop());

test("the bytes are those that the host gave", async () => {
  server.answer = () => ({ body: Buffer.from([137, 80, 78, 71, 0, 255]) });

  const bytes = await readImage(`${server.url}/a.png?w=200`, reading);

  expect([...bytes]).toEqual([137, 80, 78, 71, 0, 255]);
  expect(server.asked.map((one) => one.path)).toEqual(["/a.png?w=200"]);
});

test("a host is asked as for an <img>, and learns neither page nor cookies", async () => {
  server.answer = () => ({ body: Buffer.from([1]) });

  await readImage(`${server.url}/a.png`, reading);

  expect(server.asked[0]?.headers.accept).toContain("image/avif");
  expect(server.asked[0]?.headers.cookie).toBeUndefined();
  expect(server.asked[0]?.headers.referer).toBeUndefined();
});

test("an image inside its own address is read from there", async () => {
  const bytes = await readImage("data:image/png;base64,iVBORw==", reading);

  expect([...bytes]).toEqual([137, 80, 78, 71]);
});

test.each([
  [401, "fetch_forbidden"],
  [403, "fetch_forbidden"],
  [404, "fetch_not_found"],
  [410, "fetch_not_found"],
  [500, "fetch_http_error"],
])("status %i is %s after one request, never another address", async (status, code) => {
  server.answer = () => ({ status });

  await expect(readImage(`${server.url}/a.png`, reading)).rejects.toMatchObject({ code });

  expect(server.asked.length).toBe(1);
});

describe("a host that refuses images to whoever comes from nowhere", () => {
  const site = "https://site.example";
  const fromSite = { ...reading, site };
  beforeEach(() => {
    server.answer = () => (said === null ? { status: 403 } : { body: Buffer.from([7]) });
  });

  test("is asked once more, with the site's name", async () => {
    expect([...(await readImage(`${server.url}/a.png`, fromSite))]).toEqual([7]);

    expect(server.asked.length).toBe(2);
    expect(said).toBeNull();
  });

  test.each([
    ["we were not let into it", { ...fromSite, isGranted: async () => false }],
    ["the site is not known", reading],
  ])("is not where %s", async (_, given) => {
    await expect(readImage(`${server.url}/a.png`, given)).rejects.toMatchObject({
      code: "fetch_forbidden",
    });

    expect(server.asked.length).toBe(1);
  });

  test("is believed where it still refuses", async () => {
    server.answer = () => ({ status: 403 });

    await expect(readImage(`${server.url}/a.png`, fromSite)).rejects.toMatchObject({
      code: "fetch_forbidden",
    });

    expect(server.asked.length).toBe(2);
  });
});

test.each([
  [false, "omit"],
  [true, "include"],
])("cookies go along only where the user has said so (%s)", async (withCookies, credentials) => {
  const asked: RequestInit[] = [];
  const watched: typeof fetch = async (_, init) => {
    asked.push(init ?? {});
    return new Response(new Uint8Array([1]));
  };

  await readImage(`${server.url}/a.png`, { ...reading, fetch: watched, withCookies });

  expect(asked.map((init) => init.credentials)).toEqual([credentials]);
});

test("a page in place of an image is refused before anything is sent on", async () => {
  server.answer = () => ({ headers: { "Content-Type": "text/html" }, body: "<html>" });

  await expect(readImage(server.url, reading)).rejects.toMatchObject({ code: "not_an_image" });
});

test("an empty answer is refused", async () => {
  server.answer = () => ({ body: "" });

  await expect(readImage(server.url, reading)).rejects.toMatchObject({ code: "image_empty" });
});

test("more than 20 MiB are refused", async () => {
  server.answer = () => ({ body: Buffer.alloc(UPLOAD_LIMIT_BYTES + 1) });

  await expect(readImage(server.url, reading)).rejects.toMatchObject({ code: "fetch_too_large" });
});

test.each([
  [true, "fetch_failed"],
  [false, "host_not_granted"],
])("no answer from a host that is granted (%s) is %s", async (isGranted, code) => {
  const address = server.url;
  await server.stop();

  const given = { ...reading, isGranted: async () => isGranted };
  await expect(readImage(address, given)).rejects.toMatchObject({ code });
  await server.start();
});

test("an image on the user's own network is not even asked for", async () => {
  const shy = { ...reading, mayBePrivate: false };

  await expect(readImage(`${server.url}/a.png`, shy)).rejects.toMatchObject({
    code: "private_address",
  });

  expect(server.asked).toEqual([]);
});

test.each(["file:///etc/passwd", "chrome://settings/a.png", "javascript:alert(1)", "", "a.png"])(
  "%j is no address of an image",
  (address) => {
    expect(() => target(address, true)).toThrow(
      expect.objectContaining({ code: "address_unsupported" }),
    );
  },
);

test("sha256 is that of the standard", async () => {
  expect(await sha256Of(new Uint8Array([97, 98, 99]))).toBe(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});
