/**
 * The style of what this extension draws into a page, as a constructed sheet: no policy of a page
 * blocks one, and no page can reach it.
 *
 *     :host       stands against every rule of the page: in a shadow tree, `!important` beats the
 *                 outer document's own, its inline styles included
 *     .layer      colours, by what the user prefers and not by what the page is
 *     .veil .chip .card .toast
 *
 * Lengths are in px: a rem is the page's. Colour is never the only sign: shapes and words are.
 */
import { el } from "../ui/dom";

/** How wide the host is, so that whoever measures it knows by how much a page zooms it. */
export const HOST_PX = 100;
/** How wide and high a chip with nothing but its shape is; what a finger needs at least is 24. */
export const SMALL_CHIP_PX = 28;

/** Give the root its style. */
export function dress(root: ShadowRoot): void {
  if (import.meta.env.FIREFOX) {
    // There a content script may adopt no sheet (bug 1751346), but its <style> is let through.
    root.append(el("style", {}, STYLE));
    return;
  }
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
}

export const STYLE = `
:host {
  all: initial !important;
  display: block !important;
  position: absolute !important;
  inset: 0 auto auto 0 !important;
  inline-size: ${HOST_PX}px !important;
  block-size: 0 !important;
  overflow: visible !important;
  pointer-events: none !important;
  user-select: none !important;
  z-index: 2147483647 !important;
  color-scheme: light dark !important;
}
:host::backdrop {
  display: none !important;
}
.layer {
  --ground: #ffffff;
  --ink: #16191d;
  --quiet: #4f5863;
  --line: #6c757f;
  --accent: #184e77;
  --likely: #a11212;
  --declared: #6a3a9c;
  --unsure: #664d00;
  --clear: #1d5a35;
  color: var(--ink);
  font: 14px / 1.45 system-ui, sans-serif;
  text-align: start;
}
@media (prefers-color-scheme: dark) {
  .layer {
    --ground: #16191d;
    --ink: #eceff2;
    --quiet: #b3bcc6;
    --line: #8b95a0;
    --accent: #8cc4ee;
    --likely: #ff9d96;
    --declared: #d3adff;
    --unsure: #f2cd62;
    --clear: #8fdcaa;
  }
}
.layer.concealed {
  display: none;
}
*, ::before, ::after {
  box-sizing: border-box;
}
p, ul, h2 {
  margin: 0;
}
[data-words]::before {
  content: attr(data-words);
}
button {
  min-block-size: 32px;
  padding: 3px 10px;
  border: 1px solid var(--line);
  border-radius: 7px;
  background: var(--ground);
  color: var(--ink);
  font: inherit;
  cursor: pointer;
  pointer-events: auto;
}
:focus-visible {
  outline: 3px solid var(--accent);
  outline-offset: 1px;
  box-shadow: 0 0 0 2px var(--ground);
}
.heard {
  position: fixed;
  inset: 0 auto auto 0;
  inline-size: 1px;
  block-size: 1px;
  overflow: hidden;
  clip-path: inset(50%);
}

.chip, .card, .veil {
  position: absolute;
  inset: 0 auto auto 0;
  contain: layout style;
}
.gone {
  display: none;
}
.frame {
  position: absolute;
  inset: 0 auto auto 0;
  border: 3px solid var(--accent);
  outline: 2px solid var(--ground);
}
.chip {
  display: flex;
  gap: 6px;
  align-items: center;
  justify-content: center;
  inline-size: var(--chip);
  block-size: ${SMALL_CHIP_PX}px;
  min-block-size: 24px;
  padding: 0 9px;
  border-radius: 14px;
  font-size: 13px;
  font-weight: 600;
  line-height: 1;
  white-space: nowrap;
}
.chip.gone {
  display: none;
}
.chip.small {
  inline-size: ${SMALL_CHIP_PX}px;
  padding: 0;
}
.chip::before {
  content: attr(data-shape);
  flex: none;
}
.chip::after {
  content: attr(data-words);
  overflow: hidden;
  text-overflow: ellipsis;
  line-height: 1.4;
}
.chip.small::after {
  content: none;
}
.shape {
  flex: none;
  min-inline-size: 14px;
  text-align: center;
}
[data-look="under_way"], [data-look="failed"] {
  color: var(--quiet);
  font-weight: 500;
}
[data-look="likely_ai"] {
  color: var(--likely);
}
[data-look="declared_ai"] {
  color: var(--declared);
}
[data-look="inconclusive"] {
  color: var(--unsure);
}
[data-look="no_sign_of_ai"] {
  color: var(--clear);
}
.chip[data-look] {
  border-color: currentColor;
}
.spinner, .chip[data-look="under_way"]::before {
  content: "";
  inline-size: 12px;
  block-size: 12px;
  border: 2px solid var(--line);
  border-block-start-color: var(--accent);
  border-radius: 50%;
  animation: turn 1s linear infinite;
}

.veil {
  overflow: hidden;
}
.veil.dim {
  background: rgb(128 128 128 / 72%);
}
.veil.cover {
  display: grid;
  gap: 8px;
  place-content: center;
  justify-items: center;
  padding: 8px;
  background: var(--ground);
  border: 1px solid var(--line);
  text-align: center;
}
.veil.cover.gone {
  display: none;
}
.veil.small .verdict {
  display: none;
}
.verdict {
  display: flex;
  gap: 6px;
  align-items: baseline;
  font-weight: 650;
}

.card {
  display: grid;
  gap: 8px;
  z-index: 1;
  inline-size: min(320px, 100vw - 16px);
  max-block-size: calc(100vh - 16px);
  overflow: auto;
  overscroll-behavior: contain;
  padding: 12px 14px;
  border: 1px solid var(--line);
  border-radius: 12px;
  background: var(--ground);
  box-shadow: 0 4px 20px rgb(0 0 0 / 30%);
  overflow-wrap: anywhere;
  pointer-events: auto;
}
.card .verdict {
  font-size: 18px;
}
.card .quiet {
  color: var(--quiet);
  font-size: 13px;
}
summary {
  inline-size: fit-content;
  min-block-size: 24px;
  color: var(--accent);
  cursor: pointer;
}
ul {
  padding-inline-start: 18px;
  color: var(--quiet);
  font-size: 13px;
}
.buttons {
  display: flex;
  flex-wrap: wrap;
  gap: 8px;
}

.toast {
  display: flex;
  flex-wrap: wrap;
  gap: 8px 12px;
  align-items: center;
  position: fixed;
  inset: auto 0 16px 0;
  z-index: 2;
  inline-size: fit-content;
  max-inline-size: min(440px, 100vw - 32px);
  margin-inline: auto;
  padding: 10px 14px;
  border: 1px solid var(--line);
  border-radius: 12px;
  background: var(--ground);
  box-shadow: 0 4px 20px rgb(0 0 0 / 30%);
  overflow-wrap: anywhere;
  pointer-events: auto;
}
.toast.gone {
  display: none;
}

@keyframes turn {
  to {
    rotate: 1turn;
  }
}
@media print {
  .layer {
    display: none;
  }
}
@media (prefers-reduced-motion: reduce) {
  .spinner, .chip[data-look="under_way"]::before {
    animation: none;
  }
}
@media (forced-colors: active) {
  .layer [data-look], .layer .quiet, .layer ul {
    color: CanvasText;
  }
  .veil.dim {
    background: none;
    border: 6px dashed CanvasText;
  }
  .veil.cover {
    background: Canvas;
  }
}
`;
