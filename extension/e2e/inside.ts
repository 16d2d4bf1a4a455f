/**
 * What the real extension shows in a page, looked at from its own isolated world.
 *
 *     inside(page) --CDP--> the world of page.js in a frame --evaluate--> data
 *
 * The shadow root is closed to the page and to Playwright; the extension's world may open it.
 * Knows how to look, and nothing of what is looked for.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { CDPSession, Frame, Page } from "playwright-core";

export interface Inside {
  devtools: CDPSession;
  /** The value of an expression in the world of page.js; throws what it throws. */
  evaluate<T>(expression: string): Promise<T>;
}

interface Context {
  id: number;
  origin: string;
  auxData?: { isDefault?: boolean; type?: string; frameId?: string };
}

/**
 * The world of page.js in a page's top frame, or in a frame of another site; waits until it is
 * there. `origin`: chrome-extension://ID. One that a reload of the extension left is not taken.
 */
export async function inside(
  where: Page | Frame,
  origin: string,
  withinMs = 10_000,
): Promise<Inside> {
  const page = "context" in where ? where : where.page();
  const devtools = await page.context().newCDPSession(where);
  const worlds: Context[] = [];
  devtools.on("Runtime.executionContextCreated", ({ context }) => worlds.push(context as Context));
  await devtools.send("Runtime.enable");
  const { frameTree } = await devtools.send("Page.getFrameTree");
  const isOurs = ({ origin: of, auxData }: Context) =>
    of === origin && auxData?.frameId === frameTree.frame.id;
  const valueIn = async (world: Context, expression: string) => {
    const how = { contextId: world.id, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await devtools.send("Runtime.evaluate", {
      expression,
      ...how,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? "it threw");
    return result.value as unknown;
  };
  const alive = async () => {
    for (const world of worlds.filter(isOurs).reverse()) {
      if (await valueIn(world, "Boolean(chrome.runtime?.id)")) return world;
    }
    return null;
  };
  const world = await until(alive, (found) => found !== null, withinMs);
  const evaluate = async <T>(expression: string) =>
    (await valueIn(world as Context, expression)) as T;
  return { devtools, evaluate };
}

/** What the extension shows in a frame. `look`: the verdict, or `under_way`, or `failed`. */
export interface Seen {
  chips: { look: string; x: number; y: number; width: number; height: number }[];
  card: string | null;
  toast: string | null;
  /** How many elements of ours are in the document. */
  hosts: number;
}

export async function seen({ evaluate }: Inside): Promise<Seen> {
  return evaluate(`(() => {
    const roots = ${ROOTS};
    const shown = (kind) => roots
      .flatMap((root) => [...root.querySelectorAll(kind + ":not(.gone)")])
      .filter((one) => one.checkVisibility());
    const words = (one) => [one, ...one.querySelectorAll("[data-words]")]
      .map((part) => part.dataset.words ?? "")
      .join(" ");
    const chips = shown(".chip").map((chip) => {
      const { x, y, width, height } = chip.getBoundingClientRect();
      return { look: chip.dataset.look, x, y, width, height };
    });
    const [card = null] = shown(".card").map(words);
    const [toast = null] = shown(".toast").map(words);
    return { chips, card, toast, hosts: roots.length };
  })()`);
}

/** An expression for our shadow roots in a document, as an array. */
export const ROOTS = `[...Document.prototype.querySelectorAll.call(document, "div")]
  .map((element) => chrome.dom.openOrClosedShadowRoot(element))
  .filter((root) => root?.querySelector(".layer"))`;

/** Wait until `read` gives what `isIt`; returns it. Throws with what was there at last. */
export async function until<T>(
  read: () => Promise<T>,
  isIt: (value: T) => boolean,
  withinMs = 15_000,
): Promise<T> {
  const end = Date.now() + withinMs;
  for (;;) {
    const value = await read();
    if (isIt(value)) return value;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(value)} after ${withinMs} ms`);
    await sleep(50);
  }
}
