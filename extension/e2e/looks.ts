/**
 * Looking at a page as a judge of it: axe against WCAG 2.2 AA, and a picture for people to look at.
 *
 *     faults(page)          what axe finds, as text; [] is good
 *     kept(page, name)      FOLDER/NAME.png, where SCREENSHOTS names a folder
 *     inspected(page, name) both, light and dark
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import axe from "axe-core";
import type { Page } from "playwright-core";

const FOLDER = process.env.SCREENSHOTS;

export async function inspected(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await faults(page), [], `${name}, ${colorScheme}`);
    await kept(page, `${name}-${colorScheme}`);
  }
}

/** The whole page, or what is seen of it without scrolling. */
export async function kept(page: Page, name: string, { fullPage = true } = {}): Promise<void> {
  if (FOLDER) await page.screenshot({ path: join(FOLDER, `${name}.png`), fullPage });
}

export async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => {
    const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    return (globalThis as unknown as { axe: typeof axe }).axe.run({ runOnly });
  });
  assert.ok(found.passes.length > 0, "axe looked at nothing");
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join()}`);
}
