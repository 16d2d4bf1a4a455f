/**
 * What the screen shows of an image that has no bytes to be had: a canvas, a frame of a video.
 *
 *     the tab in front? -> picture of what its window shows -> cut to the image -> PNG bytes
 *
 * The last way of all, and only by the user's own act: the browser lets us take a picture of a tab
 * where its user has just called us (activeTab). Reading the page's canvas would be nearer to the
 * source, but browsers that guard against fingerprints put noise into it, and a tainted one cannot
 * be read. Whatever is judged of these bytes is at most inconclusive; see view.ts.
 */
import { browser } from "wxt/browser";
import { ImageError } from "./errors";
import { type Bytes, checkedBytes } from "./images";
import type { Rect } from "./messages";

/** Smaller on either side, in CSS pixels, is not an image for us. */
const SMALLEST_PX = 64;

export interface Shot {
  tabId: number;
  windowId: number;
  rect: Rect;
  /** Pixels of the screen for one CSS pixel. */
  scale: number;
  /** Called once the picture is taken, before anything is done with it. */
  isTaken(): void;
}

/** A PNG of what the screen shows there; throws ImageError. */
export async function capture({ tabId, windowId, rect, scale, isTaken }: Shot): Promise<Bytes> {
  const picture = await pictureOf(windowId, tabId);
  isTaken();
  const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
  const cut = within(rect, scale, bitmap);
  if (Math.min(cut.width, cut.height) < SMALLEST_PX * scale) {
    throw new ImageError("capture_failed", "Too little of the image is on the screen.");
  }
  const canvas = new OffscreenCanvas(cut.width, cut.height);
  canvas.getContext("2d")?.drawImage(bitmap, -cut.x, -cut.y);
  bitmap.close();
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return checkedBytes(new Uint8Array(await blob.arrayBuffer()));
}

/** The whole of what a window shows, as a data: address. */
async function pictureOf(windowId: number, tabId: number): Promise<string> {
  await refuseUnlessInFront(tabId);
  const picture = await browser.tabs
    .captureVisibleTab(windowId, { format: "png" })
    .catch((error: unknown) => {
      const isRefused = /permission/i.test(String(error));
      throw new ImageError(isRefused ? "capture_not_allowed" : "capture_failed", String(error));
    });
  // The user may have gone to another tab in between: what it shows is none of this check's.
  await refuseUnlessInFront(tabId);
  return picture;
}

async function refuseUnlessInFront(tabId: number): Promise<void> {
  const { active } = await browser.tabs.get(tabId);
  if (!active) throw new ImageError("capture_failed", "The tab is not in front any more.");
}

/** The part of a picture that a rectangle of the viewport takes, in whole pixels. Pure. */
export function within(
  rect: Rect,
  scale: number,
  picture: { width: number; height: number },
): Rect {
  const side = (from: number, length: number, limit: number) => {
    const start = Math.min(Math.max(Math.ceil(from * scale), 0), limit);
    const end = Math.min(Math.max(Math.floor((from + length) * scale), start), limit);
    return [start, end - start] as const;
  };
  const [x, width] = side(rect.x, rect.width, picture.width);
  const [y, height] = side(rect.y, rect.height, picture.height);
  return { x, y, width, height };
}
