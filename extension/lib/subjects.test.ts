import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import { Server } from "../testing/world";
import { DEFAULTS } from "./store";
import { fromFile, fromPage, titleOf } from "./subjects";

let server: Server;
beforeEach(async () => {
  fakeBrowser.permissions.contains = (async () => true) as never;
  server = await new Server().start();
  server.answer = () => ({ body: Buffer.from([1, 2]) });
});
afterEach(() => server.stop());

const source = (url: string) => ({ url, tabId: null, frameId: 0, site: null });

describe("an image of a page", () => {
  test("on the user's own network is not read", async () => {
    const subject = fromPage(source(`${server.url}/a.png`));

    await expect(subject.bytes(DEFAULTS)).rejects.toMatchObject({ code: "private_address" });
    expect(server.asked).toEqual([]);
  });

  test("is read there once the user has said yes to it", async () => {
    const subject = fromPage(source(`${server.url}/a.png`), {
      isAllowed: true,
      withCookies: false,
    });

    expect([...(await subject.bytes(DEFAULTS))]).toEqual([1, 2]);
  });

  test("inside its own address is not kept by it", () => {
    expect(fromPage(source("data:image/png;base64,AAAA")).source).toBeNull();
  });

  test.each([
    ["https://cdn.example/a.png?token=secret", "cdn.example"],
    ["http://127.0.0.1:8000/a.png", "127.0.0.1:8000"],
    ["blob:https://site.example/0a-1b", "site.example"],
    ["data:image/png;base64,AAAA", "data:"],
    ["no address", "?"],
  ])("%s is shown as %s", (address, title) => {
    expect(titleOf(address)).toBe(title);
  });
});

describe("a file", () => {
  const file = (type: string, bytes = new Uint8Array([1])) => new File([bytes], "a", { type });

  test("is read as it is", async () => {
    expect([...(await fromFile(file("image/png")).bytes(DEFAULTS))]).toEqual([1]);
  });

  test("that no system knows the type of is read", async () => {
    expect([...(await fromFile(file("")).bytes(DEFAULTS))]).toEqual([1]);
  });

  test.each([
    ["a document", file("application/pdf"), "not_an_image"],
    ["an empty one", file("image/png", new Uint8Array()), "image_empty"],
    ["one of more than 20 MiB", file("image/png", new Uint8Array(20971521)), "fetch_too_large"],
  ])("%s is refused before it leaves", async (_, given, code) => {
    await expect(fromFile(given).bytes(DEFAULTS)).rejects.toMatchObject({ code });
  });
});
