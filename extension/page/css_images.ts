/**
 * Which image a computed CSS value paints. Pure: it knows text, and nothing of elements.
 *
 *     background-image: url("a"), linear-gradient(...), image-set(url("b") 1x, url("b2") 2x)
 *                       layer 1   no image              layer 3: one candidate by the screen's scale
 *     content:          url("c") / "in words"
 *
 * Computed values are as the browser writes them: addresses absolute and in double quotes, colours
 * as rgb(), rgba() or color(). Values may be megabytes long (a data: address): they are walked
 * once, and quotes are jumped over.
 */

/** Longer than any image that a server takes, written in base64 into its own address. */
const LONGEST = 32 * 1024 * 1024;
/** No photograph fits into an address of its own this short; fillers and empty drawings do. */
const SHORTEST_DATA = 256;
/** The formats that browsers paint; a candidate of another one is passed over. */
const PAINTABLE = /^image\/(jpeg|png|apng|gif|webp|avif|bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)$/;

export interface Background {
  /** Computed background-image. */
  image: string;
  /** Computed background-size: as many as there are, they are used in turn. */
  size: string;
}

/**
 * The address of the topmost image of a background that can be seen; null for none.
 *
 * `scale` is the screen's pixels to a CSS pixel, `smallest` the side in CSS pixels below which a
 * layer counts as decoration. What lies under an opaque gradient is not seen.
 */
export function imageOfBackground(
  { image, size }: Background,
  { scale, smallest }: { scale: number; smallest: number },
): string | null {
  if (image === "none" || image.length > LONGEST) return null;
  const sizes = pieces(size, ",");
  const large = pieces(image, ",").filter(
    (_, index) => !isBelow(sizes[index % sizes.length] ?? "auto", smallest),
  );
  const hidden = large.findIndex(isOpaqueGradient);
  const seen = hidden === -1 ? large : large.slice(0, hidden);
  return first(seen, scale);
}

/** The address of the image in a computed `content`; null for none. */
export function imageOfContent(content: string, scale: number): string | null {
  if (content === "none" || content === "normal" || content.length > LONGEST) return null;
  return first(pieces(content, " "), scale);
}

/** True for an address that fills a place until the image comes: too short for a picture. */
export function isFiller(address: string): boolean {
  return address === "" || (address.startsWith("data:") && address.length < SHORTEST_DATA);
}

/** How opaque a computed colour is, 0..1. */
export function opacityOf(colour: string): number {
  if (colour === "transparent") return 0;
  const [, alpha] =
    colour.match(/^rgba\(.*,\s*([\d.]+)\)$/) ?? colour.match(/\/\s*([\d.]+)\)$/) ?? [];
  return alpha === undefined ? 1 : Number(alpha);
}

function first(values: string[], scale: number): string | null {
  for (const value of values) {
    const address = imageOf(value, scale);
    if (address !== null) return address;
  }
  return null;
}

/** `url("...")` or `image-set(...)`; null for gradients, mixes and drawings by script. */
function imageOf(value: string, scale: number): string | null {
  if (/^(-webkit-)?image-set\(/.test(value)) return chosen(inside(value), scale);
  const address = value.startsWith("url(") ? unquoted(inside(value)) : "";
  // "#id" is a filter or a gradient of the page's own drawing, not an image.
  return isFiller(address) || address.startsWith("#") ? null : address;
}

/** As browsers choose: the first that is sharp enough for the screen, else the sharpest. */
function chosen(set: string, scale: number): string | null {
  const candidates = pieces(set, ",")
    .map((text) => ({ text, type: /\btype\("([^"]*)"\)\s*$/.exec(text)?.[1] ?? "image/png" }))
    .filter(({ type }) => PAINTABLE.test(type))
    .map(({ text }) => ({ text, density: densityOf(text) }))
    .sort((a, b) => a.density - b.density);
  const best = candidates.find(({ density }) => density >= scale) ?? candidates.at(-1);
  return best ? imageOf(pieces(best.text, " ")[0] ?? "", scale) : null;
}

function densityOf(candidate: string): number {
  const resolution = pieces(candidate, " ").find((piece) => /^[\d.]+(dppx|x|dpi)$/.test(piece));
  const number = Number.parseFloat(resolution ?? "1");
  return resolution?.endsWith("dpi") ? number / 96 : number;
}

function isBelow(size: string, smallest: number): boolean {
  return size.split(" ").some((side) => side.endsWith("px") && Number.parseFloat(side) < smallest);
}

function isOpaqueGradient(layer: string): boolean {
  return /gradient\(/.test(layer.slice(0, 40)) && !/rgba\(|transparent|\//.test(layer);
}

function inside(call: string): string {
  return call.slice(call.indexOf("(") + 1, call.lastIndexOf(")")).trim();
}

function unquoted(text: string): string {
  const bare = text.startsWith('"') ? text.slice(1, -1) : text;
  if (!bare.includes("\\")) return bare;
  return bare.replace(/\\([0-9a-f]{1,6}) ?|\\(.)/gi, (_, hex?: string, letter?: string) =>
    hex ? codePoint(Number.parseInt(hex, 16)) : (letter ?? ""),
  );
}

function codePoint(number: number): string {
  return number > 0 && number <= 0x10ffff ? String.fromCodePoint(number) : "\ufffd";
}

/** `text` cut at each `separator` that stands outside of brackets and quotes. */
function pieces(text: string, separator: "," | " "): string[] {
  const cuts = [-1, ...cutsOf(text, separator), text.length];
  return cuts
    .slice(1)
    .map((end, index) => text.slice((cuts[index] ?? 0) + 1, end).trim())
    .filter((piece) => piece !== "");
}

const DEEPER: Record<string, number> = { "(": 1, ")": -1 };

function* cutsOf(text: string, separator: string): Generator<number> {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (letter === '"') at = endOfQuote(text, at);
    else if (letter === separator && depth === 0) yield at;
    else depth += DEEPER[letter as string] ?? 0;
  }
}

/** Where the quote that opens at `from` closes; jumps, as an address may be megabytes long. */
function endOfQuote(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text[at - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return at;
  }
  return text.length;
}
