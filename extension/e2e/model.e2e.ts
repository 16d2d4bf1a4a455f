/**
 * The same with the model that pinclip has by default: no test double judges here.
 *
 *     a picture drawn by the test -> popup -> `pinclip up` as it comes -> a verdict of that model
 *
 * Which verdict is the model's affair, and measured elsewhere; here it is shown with what makes it
 * usable, and the same bytes are known at once the second time.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dropped } from "./drop.ts";
import { landscape } from "./pictures.ts";
import { setUp } from "./set_up.ts";
import { skip, startBrowser, startSystem } from "./system.ts";

const WORDS = /Likely AI|Can't tell|No sign of AI/;

test("the model by default judges a picture, and knows it the second time", {
  skip,
}, async (context) => {
  const system = await startSystem(null);
  context.after(() => system.stop());
  const browser = await startBrowser();
  context.after(() => browser.stop());
  await (await setUp(system, browser)).close();
  const popup = await browser.context.newPage();
  await popup.goto(`${browser.origin}/popup.html`);

  await dropped(popup, "hills.png", landscape());
  const card = popup.locator("article", { hasText: "hills.png" });
  await card.locator(".verdict", { hasText: WORDS }).waitFor({ timeout: 60_000 });
  await card.getByText("Why", { exact: true }).click();
  const why = await card.locator("details ul").first().textContent();
  assert.match(why ?? "", /Model pinclip-/);
  assert.match(why ?? "", /640 × 480 pixels/);

  await dropped(popup, "again.png", landscape());
  const again = popup.locator("article", { hasText: "again.png" });
  await again.locator(".verdict", { hasText: WORDS }).waitFor();
});
