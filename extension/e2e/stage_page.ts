/**
 * What runs in a page's isolated world for layer.e2e.ts: the layer, on a stage of its own.
 *
 * The bundle of this file finds `browser` made by stage.ts. It keeps the layer's closed root, which
 * the page cannot have, for the test to look into; as an open one where axe shall find it.
 */

import type { Told } from "../lib/messages";
import { type Flagged, makeLayer } from "../page/layer";
import { type Painted, paintedOf } from "../page/painted";

export interface ChipSeen {
  words: string;
  label: string;
  look: string;
  isSmall: boolean;
  left: number;
  top: number;
  width: number;
  height: number;
}

let root: ShadowRoot | null = null;
const attachShadow = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (init) {
  const { isOpen } = globalThis as { isOpen?: boolean };
  root = attachShadow.call(this, isOpen ? { ...init, mode: "open" } : init);
  return root;
};
/** As the extension itself, this one may open closed roots, its own too. */
const rootOf = (element: Element) => (element === layer.host ? root : null);

const done: string[] = [];
const acts = {
  report: (id: string) => void done.push(`report ${id}`),
  openPanel: (id: string) => void done.push(`panel ${id}`),
  again: () => void done.push("again"),
};
let layer = makeLayer(acts);

function painted(selector: string): Painted {
  const element = document.querySelector(selector);
  const found = element && paintedOf(element);
  if (!found) throw new Error(`nothing is painted by ${selector}`);
  return found;
}

function wordsIn(element: Element | null): string {
  const said = [...(element?.querySelectorAll<HTMLElement>("[data-words]") ?? [])];
  return said.map(({ dataset }) => dataset.words).join(" ");
}

const stage = {
  done,
  show: (selector: string, told: Told) => layer.show(painted(selector), told),
  /** As `show`, of all at once. */
  showAll: (selector: string, told: Told) => {
    for (const element of document.querySelectorAll(selector)) {
      const found = paintedOf(element);
      if (found) layer.show(found, told);
    }
  },
  open: (selector: string) => layer.open(painted(selector)),
  openCard: (selector: string, byKeyboard: boolean) =>
    layer.openCard(painted(selector), byKeyboard),
  outline: (selector: string | null) => layer.outline(selector ? painted(selector) : null),
  toast: (text: string, labels: string[] = []) =>
    layer.toast(
      text,
      labels.map((label) => ({ label, act: () => void done.push(label) })),
    ),
  flagged: (mode: Flagged) => layer.flagged(mode),
  conceal: (isConcealed: boolean) => layer.conceal(isConcealed),
  destroy: () => {
    layer.destroy();
    root = null;
  },
  make: () => {
    layer = makeLayer(acts);
  },

  chips: (): ChipSeen[] =>
    [...(root?.querySelectorAll<HTMLElement>(".chip:not(.gone)") ?? [])].map((chip) => {
      const { left, top, width, height } = chip.getBoundingClientRect();
      return {
        words: `${chip.dataset.shape} ${chip.dataset.words}`.trim(),
        label: chip.getAttribute("aria-label") ?? "",
        look: chip.dataset.look ?? "",
        isSmall: chip.matches(".small"),
        ...{ left, top, width, height },
      };
    }),
  node: (selector: string) => root?.querySelector(selector) ?? null,
  box: (selector: string) =>
    root?.querySelector(selector)?.getBoundingClientRect().toJSON() ?? null,
  text: (selector: string) => wordsIn(root?.querySelector(selector) ?? null),
  /** The words of what has the focus inside; null while it is the page's. */
  focused: () =>
    root?.activeElement?.getAttribute("aria-label") ?? root?.activeElement?.textContent,
  count: (selector: string) => root?.querySelectorAll(selector).length ?? 0,
  isOnTop: () => {
    const [chip] = stage.chips();
    if (!chip) return false;
    const at = [chip.left + chip.width / 2, chip.top + chip.height / 2] as const;
    return document.elementFromPoint(...at) === layer.host;
  },
  hostsParent: () => layer.host.parentElement?.localName ?? null,
};
export type Stage = typeof stage;
Object.assign(globalThis, { stage, rootOf });
