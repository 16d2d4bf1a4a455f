/**
 * A press of the extension's button in the browser's toolbar, while a page is in front.
 *
 * It does what the user's own press does: the popup opens, and the extension is let into that tab
 * (activeTab), which nothing that a page or a test says could do.
 */
import type { Page } from "playwright-core";
import type { Browser } from "./system.ts";

interface Target {
  targetId: string;
  url: string;
}

/** Press it over this page; it must be of an address that no other tab shows. */
export async function press({ context, origin }: Browser, page: Page): Promise<void> {
  await page.bringToFront();
  const browser = context.browser();
  if (!browser) throw new Error("This browser has no connection of its own.");
  const devtools = await browser.newBrowserCDPSession();
  const { targetInfos } = await devtools.send("Target.getTargets", { filter: [{ type: "tab" }] });
  const tab = (targetInfos as Target[]).find(({ url }) => url === page.url());
  if (!tab) throw new Error(`no tab shows ${page.url()}`);
  const target = { id: new URL(origin).host, targetId: tab.targetId };
  await devtools.send("Extensions.triggerAction", target);
  await devtools.detach();
}
