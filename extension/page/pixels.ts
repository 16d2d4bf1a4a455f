/**
 * An image that has no address (a canvas, a video's frame), as the screen shows it.
 *
 *     visible part of it --> own chips out of the way --> worker captures the tab
 *                            own chips back <-- captured --'        '--> judged --> told
 *
 * Only when a person asked for this very image. A canvas is never read: sites and browsers put
 * noise into what it gives. What the screen shows is at most inconclusive, which the worker sees to.
 */
import type { Rect, Told } from "../lib/messages";
import { say } from "../lib/words";
import { askCheck, failed } from "./ask";
import type { Layer } from "./layer";
import { type Painted, SMALLEST_PX } from "./painted";
import { boxOf } from "./unshadowed";

export class Capturer {
  readonly #layer: () => Layer;
  /** The check for which our own chips are out of the way. */
  #concealedFor: string | null = null;

  constructor(layer: () => Layer) {
    this.#layer = layer;
  }

  /** Check what the screen shows of an image; what is ours in the page is hidden meanwhile. */
  async capture(painted: Painted, checkId: string): Promise<Told> {
    // A frame does not know where it lies in the tab.
    if (self !== top) return failed(checkId, "pixels_in_frame", say("error_pixels_in_frame"));
    const rect = visiblePart(boxOf(painted.element));
    if (rect.width < SMALLEST_PX || rect.height < SMALLEST_PX) {
      return failed(checkId, "image_too_small");
    }
    this.#concealedFor = checkId;
    this.#layer().conceal(true);
    try {
      await drawn();
      return await askCheck("capture-image", { checkId, rect, scale: devicePixelRatio });
    } finally {
      this.captured(checkId);
    }
  }

  /** The picture for this check is taken, or there will be none: ours is shown again. */
  captured(checkId: string): void {
    if (this.#concealedFor !== checkId) return;
    this.#concealedFor = null;
    this.#layer().conceal(false);
  }
}

/** What of a box lies within the window. Pure but for the window's size. */
export function visiblePart(box: DOMRect): Rect {
  const x = Math.max(0, box.left);
  const y = Math.max(0, box.top);
  const width = Math.min(innerWidth, box.right) - x;
  const height = Math.min(innerHeight, box.bottom) - y;
  return { x, y, width: Math.max(0, width), height: Math.max(0, height) };
}

/** Once the screen shows what was changed: the frame after the next has it. */
async function drawn(): Promise<void> {
  for (let frame = 0; frame < 2; frame++) await new Promise((done) => requestAnimationFrame(done));
}
