import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { manualWorld, message, type Reply, Server } from "../testing/world";
import { Client } from "./api";
import { type Connect, check, type Subject, takeUp } from "./check";
import { ImageError } from "./errors";
import { sha256Of } from "./images";
import * as store from "./store";

const BYTES = new Uint8Array([1, 2, 3]);
let server: Server;
let make: Connect;

const subject: Subject = {
  title: "a.png",
  source: null,
  isCapture: false,
  bytes: async () => BYTES,
};
const answers = (given: Record<string, Reply>) => {
  server.answer = ({ method, path }) => {
    const found = Object.keys(given).find((start) => `${method} ${path}`.startsWith(start));
    return found ? (given[found] as Reply) : { status: 404, body: message("problem-not-found") };
  };
};
const nothingKnown = { body: { prefix: "00000", data: [] } };
const WHOLE = {
  "GET /v1/lookups/range/": nothingKnown,
  "POST /v1/uploads": { status: 201, body: message("upload") },
  "POST /v1/scans": { status: 202, body: message("scan-queued") },
  "GET /v1/scans/": { body: message("scan-upload") },
};

beforeEach(async () => {
  fakeBrowser.reset();
  fakeBrowser.storage.session.getBytesInUse = (async () => 0) as never;
  server = await new Server().start();
  make = (settings) => new Client(settings.backend, settings.key, manualWorld());
  await store.saveSettings({ ...store.DEFAULTS, isSetUp: true, backend: server.url });
});
afterEach(() => server.stop());

const change = async (settings: Partial<store.Settings>) =>
  store.saveSettings({ ...(await store.loadSettings()), ...settings });

describe("an image that nobody knows", () => {
  test("is looked up, sent, and judged", async () => {
    answers(WHOLE);

    const done = await check(subject, { make });

    expect(done).toMatchObject({ stage: "done", view: { verdict: "likely_ai", from: "browser" } });
    expect(server.paths()).toEqual([
      `GET /v1/lookups/range/${(await sha256Of(BYTES)).slice(0, 5)}`,
      "POST /v1/uploads",
      "POST /v1/scans",
      "GET /v1/scans/scan_01M8BEPWPG7HMTADAK9D0DAYMT",
    ]);
  });

  test("is on the list of what left, byte for byte", async () => {
    answers(WHOLE);

    await check(subject, { make });

    const sent = await store.listSent(Date.now());
    expect(sent.map(({ what, bytes }) => [what, bytes]).sort()).toEqual([
      ["bytes", 3],
      ["prefix", 5],
    ]);
  });

  test("is not asked about twice in a session", async () => {
    answers(WHOLE);
    await check(subject, { make });
    const before = server.asked.length;

    const again = await check(subject, { make });

    expect(again.view?.verdict).toBe("likely_ai");
    expect(server.asked.length).toBe(before);
  });

  test("stays here where only look-ups may leave", async () => {
    answers(WHOLE);
    await change({ send: "lookup" });

    const failed = await check(subject, { make });

    expect(failed).toMatchObject({ stage: "failed", view: null, error: { code: "not_known" } });
    expect(server.asked.length).toBe(1);
  });
});

test("an image that is known is not sent", async () => {
  const entry = { ...message("lookup-known"), sha256: await sha256Of(BYTES) };
  answers({ "GET /v1/lookups/range/": { body: { prefix: "00000", data: [entry] } } });

  const done = await check(subject, { make });

  expect(done.view).toMatchObject({ verdict: "likely_ai", from: "lookup" });
  expect(server.asked.length).toBe(1);
});

test("another image of the same five digits is not taken for this one", async () => {
  const other = { ...message("lookup-known"), sha256: "f".repeat(64) };
  answers({ ...WHOLE, "GET /v1/lookups/range/": { body: { prefix: "fffff", data: [other] } } });

  expect((await check(subject, { make })).view?.from).toBe("browser");
});

test("nothing is read or sent before the first run is finished", async () => {
  await change({ isSetUp: false });
  let isRead = false;
  const watched = {
    ...subject,
    bytes: async () => {
      isRead = true;
      return BYTES;
    },
  };

  const failed = await check(watched, { make });

  expect(failed.error?.code).toBe("not_set_up");
  expect([isRead, server.asked.length]).toEqual([false, 0]);
});

test.each([
  ["a server that refuses the key", { status: 401, body: message("problem-auth-invalid") }],
  ["a server that is busy", { status: 503, body: message("problem-queue-full") }],
  ["another program", { body: "<html>" }],
])("%s gives no verdict", async (_, reply) => {
  answers({ "GET /v1/lookups/range/": reply });

  expect(await check(subject, { make })).toMatchObject({ stage: "failed", view: null });
});

test("a scan that failed gives its reason and no verdict", async () => {
  answers({ ...WHOLE, "GET /v1/scans/": { body: message("scan-failed-decode-failed") } });

  const failed = await check(subject, { make });

  expect(failed).toMatchObject({ view: null, error: { code: "decode_failed" } });
});

describe("an image that this browser may not read", () => {
  const source = { url: "https://img.example/a.png", tabId: null, frameId: 0, site: null };
  const refused: Subject = {
    title: "img.example",
    source,
    isCapture: false,
    bytes: () => Promise.reject(new ImageError("host_not_granted", "no")),
  };

  test("is asked for by its host, and its address stays here", async () => {
    const failed = await check(refused, { make });

    expect(failed.error).toMatchObject({ code: "host_not_granted", origin: "https://img.example" });
    expect(server.asked).toEqual([]);
  });

  test("is fetched by the server where the user has chosen that", async () => {
    answers({ ...WHOLE, "GET /v1/scans/": { body: message("scan-likely-ai") } });
    await change({ send: "url" });

    const done = await check(refused, { make });

    expect(done.view).toMatchObject({ verdict: "likely_ai", from: "server" });
    expect(JSON.parse(String(server.asked[0]?.body)).url).toBe(source.url);
  });

  test("is never named to the server where it is on the user's own network", async () => {
    await change({ send: "url" });
    const home = {
      ...refused,
      bytes: () => Promise.reject(new ImageError("private_address", "no")),
    };

    expect((await check(home, { make })).error?.code).toBe("private_address");
    expect(server.asked).toEqual([]);
  });
});

describe("a check that broke off", () => {
  const begun: store.Check = {
    id: "1",
    title: "a.png",
    startedAt: 1,
    stage: "waiting",
    source: null,
    isCapture: false,
    frame: null,
    how: "user",
    scanId: "scan_1",
    view: null,
    error: null,
  };

  test("is waited for again once it was sent", async () => {
    answers(WHOLE);
    await store.saveCheck(begun);

    await takeUp(make);

    expect(await store.loadCheck("1")).toMatchObject({ stage: "done" });
    expect(server.paths()).toEqual(["GET /v1/scans/scan_1"]);
  });

  test("says so where it was not", async () => {
    await store.saveCheck({ ...begun, stage: "sending", scanId: null });

    await takeUp(make);

    expect((await store.loadCheck("1"))?.error?.code).toBe("interrupted");
  });

  test("is begun anew where its image is still to be had", async () => {
    answers(WHOLE);
    const url = "data:image/png;base64,AQID";
    const source = { url, tabId: null, frameId: 0, site: null };
    await store.saveCheck({ ...begun, stage: "getting", scanId: null, source });

    await takeUp(make);

    expect(await store.loadCheck("1")).toMatchObject({ stage: "done" });
  });

  test("is left alone while somebody works on it", async () => {
    await store.saveCheck(begun);

    await navigator.locks.request("check:1", () => takeUp(make));

    expect(await store.loadCheck("1")).toEqual(begun);
  });

  test("has not, while it is still being read", async () => {
    answers(WHOLE);
    const slow = {
      ...subject,
      bytes: async () => {
        await takeUp(make);
        return BYTES;
      },
    };

    expect(await check(slow, { make })).toMatchObject({ stage: "done", error: null });
  });

  test("is left alone once it is done", async () => {
    answers(WHOLE);
    const done = await check(subject, { make });
    const before = server.asked.length;

    await takeUp(make);

    expect(await store.loadCheck(done.id)).toEqual(done);
    expect(server.asked.length).toBe(before);
  });
});

describe("a check that is asked for again under its id", () => {
  const id = "11111111-2222-4333-8444-555555555555";
  const counted = () => {
    const read = { times: 0 };
    const bytes = async () => {
      read.times++;
      return BYTES;
    };
    return { read, subject: { ...subject, bytes } };
  };

  test("is made once, however often and whenever that is", async () => {
    answers(WHOLE);
    const { read, subject: watched } = counted();

    const both = await Promise.all([check(watched, { id, make }), check(watched, { id, make })]);
    const later = await check(watched, { id, make });

    expect([...both, later].map((one) => one.view?.verdict)).toEqual(Array(3).fill("likely_ai"));
    expect(read.times).toBe(1);
    expect(server.asked.length).toBe(4); // look-up, upload, scan, wait
  });

  test("goes on where a worker that was ended has left it", async () => {
    answers(WHOLE);
    const { read, subject: watched } = counted();
    const left = { stage: "waiting", scanId: "scan_1", view: null, error: null } as const;
    const whose = { isCapture: false, frame: null, how: "hover" } as const;
    await store.saveCheck({ id, title: "", startedAt: 1, source: null, ...whose, ...left });

    expect(await check(watched, { id, make })).toMatchObject({ stage: "done", how: "hover" });

    expect(read.times).toBe(0);
    expect(server.paths()).toEqual(["GET /v1/scans/scan_1"]);
  });
});

test("a picture of the screen gives no more than inconclusive, and no numbers", async () => {
  answers(WHOLE);

  const done = await check({ ...subject, isCapture: true }, { make });

  expect(done.view).toMatchObject({
    ...{ verdict: "inconclusive", probability: null, falseAlarms: null, from: "capture" },
    warnings: expect.arrayContaining(["rendered_capture"]),
  });
});

test("the same bytes as a file are judged as they are", async () => {
  answers(WHOLE);
  await check({ ...subject, isCapture: true }, { make });

  expect((await check(subject, { make })).view?.verdict).toBe("likely_ai");
});

test("scans that were made are kept by their id, for who wants them erased", async () => {
  answers(WHOLE);

  await check(subject, { make });

  const [made] = await store.listScans();
  expect(made).toMatchObject({ id: message("scan-queued").id, backend: server.url });
});
