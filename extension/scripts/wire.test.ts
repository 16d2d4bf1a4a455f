import { expect, test } from "vitest";
import { present, wanted } from "./wire";

test("lib/wire.gen.ts is what docs/openapi.json says", async () => {
  expect((await present()) === (await wanted()), "stale: run `npm run wire`").toBe(true);
});
