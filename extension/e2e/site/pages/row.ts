/**
 * What a page of the fixture site is: what it shows, and what is painted where.
 *
 *     Row      a page, at /NAME of site.example
 *     Target   a place on it: what the browser paints there, and whether its bytes can be had
 */

export const SITE = "http://site.example";
/** Another site, whose images no script of the first may read. */
export const CDN = "http://cdn.example";
/** One that tests give the extension no access to. */
export const SHUT = "http://shut.example";
/** Another site, for frames. */
export const OTHER = "http://other.example";

export interface Target {
  /** The element whose middle is pointed at, by selector. */
  at: string;
  /** Exactly what is painted there; "blob:" and "data:" stand for any of them, null for nothing,
   * "pixels" for an image without an address. */
  paints: string | null;
  kind?: string;
  /** How the address of the frame ends that the element is in. */
  frame?: string;
  /** Screen pixels to a CSS pixel. */
  scale?: number;
  /** Width of the window, in CSS pixels. */
  width?: number;
  /** What the page does first, as it reads in the page. */
  first?: string;
}

export interface Row {
  /** What a person sees there, in a sentence. */
  says: string;
  html: string;
  head?: string;
  headers?: Record<string, string>;
  targets?: Target[];
}

export type Rows = Record<string, Row>;

/** A 1 x 1 image that is nothing but see-through. */
export const SPACER =
  "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/** The address of a picture on the other site, 400 x 300 unless its name says else. */
export function there(name: string): string {
  return `${CDN}/p/${name}.png`;
}

/** The whole page. */
export function written({ says, html, head = "" }: Row, name: string): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${name}</title><link rel="icon" href="data:,">
<style>body { margin: 16px; font: 16px/1.4 sans-serif } .card { position: relative; width: 400px }
.over { position: absolute; inset: 0 } .box { width: 400px; height: 300px }</style>
${head}</head>
<body><p>${says}</p>
${html}
</body></html>`;
}
