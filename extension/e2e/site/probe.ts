/**
 * What page/painted.ts says on a page, for tests: put into the isolated world of a tiny extension,
 * where it stands as `probe`. It points, asks, and answers in plain data.
 */
import { isStill, type Painted, paintedAt, paintedOf, paintedOnPage } from "../../page/painted.ts";

export type Told = Pick<Painted, "kind" | "address"> | null;

export interface Answers {
  at: Told;
  of: Told;
  all: Told[];
  still: boolean;
  /** How long it took to look at the whole page, in milliseconds. */
  tookMs: number;
}

const told = (painted: Painted | null): Told =>
  painted && { kind: painted.kind, address: painted.address };

function probe(selector: string): Answers {
  const element = document.querySelector(selector);
  if (!element) throw new Error(`no ${selector}`);
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const box = Element.prototype.getBoundingClientRect.call(element);
  const painted = paintedAt(box.left + box.width / 2, box.top + box.height / 2);
  const begun = performance.now();
  const all = [...paintedOnPage()].map(told);
  const tookMs = performance.now() - begun;
  const still = painted === null || isStill(painted);
  return { at: told(painted), of: told(paintedOf(element)), all, still, tookMs };
}

Object.assign(globalThis, { probe });
