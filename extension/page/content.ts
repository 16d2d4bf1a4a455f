/**
 * What one element paints itself, and whether it can be seen. Knows nothing of what lies over it.
 *
 *     element -> replaced by CSS content | img, poster, input, <image>, object | canvas, video
 *                  | none of these, or only a spacer
 *                  v
 *                ::after | ::before | background -> kind and address
 *
 * The address is the one that the browser chose. What has not loaded yet is nothing. Of a
 * background no browser tells whether it has loaded: it counts as painted.
 */
import { imageOfBackground, imageOfContent, isFiller, opacityOf } from "./css_images";
import { isRendered } from "./unshadowed";

export type Kind =
  | "img"
  | "background"
  | "pseudo"
  | "svg"
  | "poster"
  | "input"
  | "canvas"
  | "video";

export interface Content {
  kind: Kind;
  /** Exactly what is painted now, absolute; null where there are only pixels. */
  address: string | null;
}

/** In CSS pixels: smaller on either side is not an image for us. */
export const SMALLEST_PX = 64;
/** In its own pixels: smaller is a filler that is stretched until the image comes. */
const SPACER_PX = 16;
/** What counts as opaque, and as not there at all. */
const OPAQUE = 0.95;
const FAINT = 0.1;

/** What an element paints, wherever it is; null for nothing, or for what has not loaded. */
export function contentOf(element: Element): Content | null {
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

export function isLarge(box: DOMRect): boolean {
  return box.width >= SMALLEST_PX && box.height >= SMALLEST_PX;
}

export function isSeen(element: Element): boolean {
  return isRendered(element) && Number(getComputedStyle(element).opacity) >= FAINT;
}

/** True if nothing below this element is seen where it is. */
export function isOpaque(element: Element): boolean {
  if (!isSeen(element)) return false;
  if (/^(iframe|frame|video|embed|object)$/.test(element.localName)) return true;
  const style = getComputedStyle(element);
  return Math.min(Number(style.opacity), opacityOf(style.backgroundColor)) >= OPAQUE;
}
