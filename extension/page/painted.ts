/**
 * What image is painted: at a point, of an element, on the whole page. Owns the question of which
 * address was painted; knows nothing of checks, of chips or of the worker.
 *
 *     point -> elements there, topmost first, closed roots opened
 *                 | each: what it paints itself?
 *                 |   img, poster, input, <image>     what the browser chose: currentSrc
 *                 |   content, ::after, ::before, background
 *                 |   canvas, video                   only pixels: no address
 *                 | nothing (link over it, spacer, opacity 0): the next one below
 *                 | something opaque without an image: what is below is not seen
 *                 v
 *              Painted
 *
 * The address is what the browser painted, never a larger one that could be guessed; nothing is
 * asked of any server and no pixel is read. Nothing is written to the page. The page may be
 * hostile: a form answers to the names of its fields and a document to those of its images, even
 * in an isolated world, so what could be shadowed so is asked of the prototypes.
 */
import { browser } from "wxt/browser";
import { imageOfBackground, imageOfContent, isFiller, opacityOf } from "./css_images";
import { boxOf, isConnected } from "./unshadowed";

export type Kind =
  | "img"
  | "background"
  | "pseudo"
  | "svg"
  | "poster"
  | "input"
  | "canvas"
  | "video";

export interface Painted {
  /** What a chip is placed over. */
  element: Element;
  kind: Kind;
  /** Exactly what is painted now, absolute; null where there are only pixels. */
  address: string | null;
}

type Content = Pick<Painted, "kind" | "address">;

/** In CSS pixels: smaller on either side is not an image for us. */
export const SMALLEST_PX = 64;
/** In its own pixels: smaller is a filler that is stretched until the image comes. */
const SPACER_PX = 16;
/** What counts as opaque, and as not there at all. */
const OPAQUE = 0.95;
const FAINT = 0.1;
/** How far one question goes into a page that piles elements up. */
const MOST_LAYERS = 200;
const MOST_INSIDE = 64;
/** How many elements up a background is looked for that an image covers. */
const COVERED_LEVELS = 4;
/** The elements that the standard lets have a root: these, and those with a name of their own. */
const CAN_HOST =
  /-|^(article|aside|blockquote|body|div|footer|h[1-6]|header|main|nav|p|section|span)$/;
const PARENT = Object.getOwnPropertyDescriptor(Node.prototype, "parentNode")?.get as () => unknown;

/** The topmost image under a point of the viewport, in CSS pixels; null for none. */
export function paintedAt(x: number, y: number): Painted | null {
  let layers = 0;
  for (const element of elementsAt(x, y)) {
    if (layers++ >= MOST_LAYERS) return null;
    const painted = unhittable(element, x, y) ?? paintedBy(element);
    if (painted) return painted;
    if (isOpaque(element)) return null;
  }
  return null;
}

/**
 * The image of an element, or the one that it frames: a link around an image, a host of a shadow
 * root, a link that lies over a whole card. Of several the largest; null for none.
 */
export function paintedOf(element: Element): Painted | null {
  const own = paintedBy(element);
  const inner = own?.kind === "img" ? null : largest(inside(element));
  if (own && inner) return isCovered(own, inner) ? inner : own;
  return own ?? inner ?? behind(element);
}

/**
 * All images of this frame that have loaded and are painted, in document order, each element once.
 *
 * Open and closed roots are walked; canvases and videos are left out, as only pixels are there.
 * Everything is read before the first is given, so that whoever draws in between forces no layout.
 */
export function* paintedOnPage(): Generator<Painted> {
  const boxes = [...elementsUnder(document)].map((element) => ({ element, box: boxOf(element) }));
  const found: Placed[] = [];
  for (const { element, box } of boxes) {
    const content = isLarge(box) && isSeen(element) ? contentOf(element) : null;
    if (content?.address) found.push({ painted: { element, ...content }, box });
  }
  yield* uncovered(found); // a list: all of it is read by now
}

/** Whether an image is still the one it was: else what was found out about it is of another. */
export function isStill({ element, kind, address }: Painted): boolean {
  const now = isConnected(element) ? contentOf(element) : null;
  return now !== null && now.kind === kind && now.address === address;
}

/* What one element paints itself */

function paintedBy(element: Element): Painted | null {
  if (!isLarge(boxOf(element)) || !isSeen(element)) return null;
  const content = contentOf(element);
  return content && { element, ...content };
}

/** What an element paints, wherever it is; null for nothing, or for what has not loaded. */
function contentOf(element: Element): Content | null {
  try {
    const style = getComputedStyle(element);
    const replaced = imageOfContent(style.content, devicePixelRatio);
    if (replaced !== null) return { kind: "pseudo", address: replaced };
    if (element instanceof HTMLImageElement && !element.complete) return null;
    return ofMedia(element) ?? ofPseudo(element) ?? ofBackground(style, "background");
  } catch {
    return null; // an address that is none, or an element that went away while it was asked
  }
}

function ofMedia(element: Element): Content | null {
  if (element instanceof HTMLImageElement) return ofImage(element);
  if (element instanceof HTMLVideoElement) return ofVideo(element);
  if (element instanceof HTMLCanvasElement) return { kind: "canvas", address: null };
  if (element instanceof SVGImageElement) return ofDrawing(element);
  if (element instanceof HTMLInputElement) {
    return element.type === "image" && element.src ? { kind: "input", address: element.src } : null;
  }
  return ofPlugin(element);
}

function ofImage(image: HTMLImageElement): Content | null {
  const isSpacer = Math.min(image.naturalWidth, image.naturalHeight) < SPACER_PX;
  if (isSpacer || isFiller(image.currentSrc)) return null;
  return { kind: "img", address: image.currentSrc };
}

/** A poster shows until the video is played or moved; no property says so. */
function ofVideo(video: HTMLVideoElement): Content | null {
  const isUntouched = video.paused && video.currentTime === 0 && video.played.length === 0;
  if (isUntouched && video.poster) return { kind: "poster", address: video.poster };
  const hasFrame = video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  return hasFrame ? { kind: "video", address: null } : null;
}

function ofDrawing(image: SVGImageElement): Content | null {
  const href = image.href.animVal;
  if (isFiller(href) || href.startsWith("#")) return null;
  return { kind: "svg", address: new URL(href, image.baseURI).href };
}

/** <object> and <embed> of an image. One without a type may be anything, a document too. */
function ofPlugin(element: Element): Content | null {
  const address =
    element instanceof HTMLObjectElement
      ? element.data
      : element instanceof HTMLEmbedElement
        ? element.src
        : "";
  const isImage = address !== "" && (element as HTMLEmbedElement).type.startsWith("image/");
  return isImage ? { kind: "img", address } : null;
}

/** Of the two the one that lies on top. Elements that are replaced by an image have none. */
function ofPseudo(element: Element): Content | null {
  if (isReplaced(element)) return null;
  for (const pseudo of ["::after", "::before"]) {
    const style = getComputedStyle(element, pseudo);
    if (!isGenerated(style)) continue;
    const address = imageOfContent(style.content, devicePixelRatio);
    const content: Content | null = address
      ? { kind: "pseudo", address }
      : ofBackground(style, "pseudo");
    if (content) return content;
  }
  return null;
}

function isGenerated(style: CSSStyleDeclaration): boolean {
  if (style.content === "none" || style.content === "normal" || style.content === "") return false;
  const isShown = style.display !== "none" && style.visibility === "visible";
  return isShown && Number(style.opacity) >= FAINT && !isTiny(style.width) && !isTiny(style.height);
}

/** A used length; `auto` (a box in a line of text) tells nothing. */
function isTiny(length: string): boolean {
  return Number.parseFloat(length) < SMALLEST_PX;
}

function ofBackground(style: CSSStyleDeclaration, kind: Kind): Content | null {
  if (style.backgroundImage === "none" || style.backgroundClip.startsWith("text")) return null;
  const address = imageOfBackground(
    { image: style.backgroundImage, size: style.backgroundSize },
    { scale: devicePixelRatio, smallest: SMALLEST_PX },
  );
  return address === null ? null : { kind, address };
}

function isReplaced(element: Element): boolean {
  return /^(img|video|canvas|iframe|frame|object|embed|input|image)$/.test(element.localName);
}

/* Where elements are and whether they are seen */

function isLarge(box: DOMRect): boolean {
  return box.width >= SMALLEST_PX && box.height >= SMALLEST_PX;
}

function isSeen(element: Element): boolean {
  const also = { checkOpacity: true, checkVisibilityCSS: true };
  if (!Element.prototype.checkVisibility.call(element, also)) return false;
  return Number(getComputedStyle(element).opacity) >= FAINT;
}

/** True if nothing below this element is seen where it is. */
function isOpaque(element: Element): boolean {
  if (!isSeen(element)) return false;
  if (/^(iframe|frame|video|embed|object)$/.test(element.localName)) return true;
  const style = getComputedStyle(element);
  return Math.min(Number(style.opacity), opacityOf(style.backgroundColor)) >= OPAQUE;
}

function holds(box: DOMRect, x: number, y: number): boolean {
  return box.left <= x && x < box.right && box.top <= y && y < box.bottom;
}

/** How much of `inner` lies in `outer`, 0..1. */
function shareWithin(inner: DOMRect, outer: DOMRect): number {
  const width = Math.min(inner.right, outer.right) - Math.max(inner.left, outer.left);
  const height = Math.min(inner.bottom, outer.bottom) - Math.max(inner.top, outer.top);
  return (Math.max(0, width) * Math.max(0, height)) / (inner.width * inner.height);
}

/* At a point */

function elementsAt(x: number, y: number): Generator<Element> {
  return opened(Document.prototype.elementsFromPoint.call(document, x, y), { x, y }, new Set());
}

/**
 * The same elements with those of shadow roots among them.
 *
 * The browser names a host in place of whatever is hit inside of it. So inside comes first, then
 * what is slotted into the host, then the host's own box.
 */
function* opened(
  hits: Element[],
  point: { x: number; y: number },
  met: Set<Element>,
): Generator<Element> {
  for (const [index, element] of hits.entries()) {
    if (met.has(element)) continue;
    met.add(element);
    const root = shadowOf(element);
    if (root) {
      const within = root.elementsFromPoint(point.x, point.y);
      // Some browsers name the elements around the host, too.
      yield* opened(
        within.filter((one) => Node.prototype.getRootNode.call(one) === root),
        point,
        met,
      );
      yield* opened(
        hits.slice(index + 1).filter((one) => isIn(one, element)),
        point,
        met,
      );
    }
    yield element;
  }
}

/** An image inside of `element` that the pointer goes through (`pointer-events: none`). */
function unhittable(element: Element, x: number, y: number): Painted | null {
  for (const inner of inside(element).reverse()) {
    if (getComputedStyle(inner).pointerEvents !== "none" || !holds(boxOf(inner), x, y)) continue;
    const painted = paintedBy(inner);
    if (painted) return painted;
  }
  return null;
}

/* Of an element */

/** The first elements inside of `element`, with those of its root or slotted into it. */
function inside(element: Element): Element[] {
  const found: Element[] = [];
  for (const inner of elementsUnder(element)) {
    if (inner instanceof HTMLSlotElement) found.push(...inner.assignedElements({ flatten: true }));
    if (found.push(inner) >= MOST_INSIDE) break;
  }
  return found;
}

function largest(elements: Element[]): Painted | null {
  let best: Painted | null = null;
  let most = 0;
  for (const element of elements) {
    const { width, height } = boxOf(element);
    const painted = width * height > most ? paintedBy(element) : null;
    if (!painted) continue;
    best = painted;
    most = width * height;
  }
  return best;
}

/** True if nothing of `lower` shows beside `upper`, which lies on it. */
function isCovered(lower: Painted, upper: Painted): boolean {
  return shareWithin(boxOf(lower.element), boxOf(upper.element)) > OPAQUE;
}

/** An image that lies wholly behind an element, such as a link that is laid over a card. */
function behind(element: Element): Painted | null {
  const box = boxOf(element);
  if (!isLarge(box)) return null;
  for (const part of [2, 4]) {
    const painted = paintedAt(box.left + box.width / 2, box.top + box.height / part);
    if (painted && shareWithin(boxOf(painted.element), box) > OPAQUE) return painted;
  }
  return null;
}

/* On the page */

interface Placed {
  painted: Painted;
  box: DOMRect;
}

/** Without the backgrounds that an image inside of them covers, and the lower ones of a pile. */
function uncovered(found: Placed[]): Painted[] {
  const backgrounds = new Map(
    found.filter(({ painted }) => painted.kind !== "img").map((one) => [one.painted.element, one]),
  );
  const covered = new Set<Placed>();
  const tops = new Map<string, Placed>();
  for (const one of found) {
    for (const below of coveredBy(one, backgrounds)) covered.add(below);
    const place = [one.box.left, one.box.top, one.box.width, one.box.height].join();
    const lower = tops.get(place);
    if (lower) covered.add(lowerOf(lower, one));
    tops.set(place, lower && covered.has(one) ? lower : one);
  }
  return found.filter((one) => !covered.has(one)).map(({ painted }) => painted);
}

/** Backgrounds of the elements close around an image that show nothing beside it. */
function coveredBy(one: Placed, backgrounds: Map<Element, Placed>): Placed[] {
  const found: Placed[] = [];
  let around = parentOf(one.painted.element);
  for (let level = 0; around && level < COVERED_LEVELS; level++) {
    const below = backgrounds.get(around);
    if (below && shareWithin(below.box, one.box) > OPAQUE) found.push(below);
    around = parentOf(around);
  }
  return found;
}

/** Of two in the very same place the one that is not seen: asked if on screen, else the earlier. */
function lowerOf(earlier: Placed, later: Placed): Placed {
  const { left, top, width, height } = later.box;
  const seen = paintedAt(left + width / 2, top + height / 2);
  return seen?.element === earlier.painted.element ? later : earlier;
}

/* Trees */

/** Every element under a root, with those of the shadow roots in it, in document order. */
function* elementsUnder(root: Document | Element | ShadowRoot): Generator<Element> {
  const own = root instanceof Element ? shadowOf(root) : null;
  if (own) yield* elementsUnder(own);
  for (const element of elementsOf(root)) {
    yield element;
    const inner = shadowOf(element);
    if (inner) yield* elementsUnder(inner);
  }
}

function elementsOf(root: Document | Element | ShadowRoot): NodeListOf<Element> {
  if (root instanceof Document) return Document.prototype.querySelectorAll.call(root, "*");
  if (root instanceof Element) return Element.prototype.querySelectorAll.call(root, "*");
  return root.querySelectorAll("*");
}

/** An element's root, also a closed one: only the browser can open that, and only for us. */
function shadowOf(element: Element): ShadowRoot | null {
  if (!(element instanceof HTMLElement) || !CAN_HOST.test(element.localName)) return null;
  return element.shadowRoot ?? browser.dom.openOrClosedShadowRoot(element);
}

function parentOf(element: Element): Element | null {
  const parent = PARENT.call(element) as Node | null;
  if (parent instanceof ShadowRoot) return parent.host;
  return parent instanceof Element ? parent : null;
}

function isIn(element: Element, outer: Element): boolean {
  return Node.prototype.contains.call(outer, element);
}
