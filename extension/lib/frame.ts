/**
 * What only a page's own frame can tell, by functions that are put into it for one answer.
 *
 * They run in the page's process, so they use nothing from outside themselves and leave nothing
 * behind; what they answer is data from a stranger and is checked by who asked.
 */
import { browser } from "wxt/browser";
import { ImageError } from "./errors";
import { type Bytes, checkedBytes } from "./images";

/** The bytes of a blob: address that a frame made; throws ImageError. */
export async function readBlob(url: string, tabId: number, frameId: number): Promise<Bytes> {
  const text = await inFrame(tabId, frameId, blobAsBase64, [url]);
  if (typeof text !== "string" || text === "") {
    throw new ImageError("blob_gone", "The page no longer has this image.");
  }
  return checkedBytes(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
}

async function inFrame<A extends unknown[]>(
  tabId: number,
  frameId: number,
  func: (...args: A) => unknown,
  args: A,
): Promise<unknown> {
  try {
    const target = { tabId, frameIds: [frameId] };
    const [answer] = await browser.scripting.executeScript({ target, func, args });
    return answer?.result;
  } catch {
    return null; // a page of the browser or the store, or the tab is gone
  }
}

/* Put into a page: nothing from outside may be named in these. */

async function blobAsBase64(url: string): Promise<string> {
  try {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const pieces: string[] = [];
    for (let at = 0; at < bytes.length; at += 0x8000) {
      pieces.push(String.fromCharCode(...bytes.subarray(at, at + 0x8000)));
    }
    return btoa(pieces.join(""));
  } catch {
    return "";
  }
}
