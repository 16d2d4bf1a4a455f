import { afterEach, beforeEach, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { manualWorld, message, Server } from "../testing/world";
import { Client } from "./api";
import { appeal, report } from "./feedback";
import { type Check, DEFAULTS, listSent, loadCheck, saveSettings } from "./store";
import { type View, viewOfScan } from "./view";
import { read, scan } from "./wire";

let server: Server;
beforeEach(async () => {
  fakeBrowser.reset();
  server = await new Server().start();
  await saveSettings({ ...DEFAULTS, isSetUp: true, backend: server.url, key: "pk_1" });
});
afterEach(() => server.stop());

const make = () => new Client(server.url, "pk_1", manualWorld());
const judged = viewOfScan(read(scan, message("scan-likely-ai"))) as View;
const check = (view: View): Check => ({
  id: "1",
  title: "a.png",
  startedAt: 0,
  stage: "done",
  source: null,
  frame: null,
  how: "user",
  isCapture: false,
  scanId: view.scanId,
  view,
  error: null,
});
const answers = (bodies: Record<string, Record<string, unknown>>) => {
  server.answer = ({ path }) => {
    const [, body] = Object.entries(bodies).find(([end]) => path.endsWith(end)) ?? [];
    return body ? { status: 201, body } : { status: 404 };
  };
};

test("a report goes to the scan of the verdict, and is kept with the check", async () => {
  answers({ "/feedback": message("feedback") });

  await report(check(judged), "not_ai", "I took it.", make);

  expect(server.paths()).toEqual([`POST /v1/scans/${judged.scanId}/feedback`]);
  expect(JSON.parse(String(server.asked[0]?.body))).toEqual({
    label: "not_ai",
    comment: "I took it.",
  });
  expect((await loadCheck("1"))?.reported?.label).toBe("not_ai");
});

test("a verdict that was only looked up gets a scan first, by its sha256", async () => {
  answers({ "/scans": message("scan-likely-ai"), "/feedback": message("feedback") });

  await report(check({ ...judged, scanId: null, from: "lookup" }), "ai", "", make);

  expect(server.paths()).toEqual([
    "POST /v1/scans",
    `POST /v1/scans/${message("scan-likely-ai").id}/feedback`,
  ]);
  expect(JSON.parse(String(server.asked[0]?.body))).toMatchObject({ sha256: judged.sha256 });
});

test("an appeal is kept with the check by the server's id of it", async () => {
  answers({ "/appeals": message("appeal-open") });

  await appeal(check(judged), "I took it.", make);

  expect((await loadCheck("1"))?.appealed).toEqual({ id: message("appeal-open").id });
});

test("what is said leaves this browser, so it is in the list of what left", async () => {
  answers({ "/feedback": message("feedback") });

  await report(check(judged), "ai", "", make);

  expect((await listSent(Date.now())).map((sent) => sent.what)).toEqual(["report"]);
});

test("a report that the server refuses is not said to be kept", async () => {
  answers({});

  await expect(report(check(judged), "ai", "", make)).rejects.toMatchObject({ status: 404 });

  expect(await loadCheck("1")).toBeNull();
});
