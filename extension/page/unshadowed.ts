/**
 * The DOM as the browser has it, whatever names a page gives to its elements. No state.
 *
 * A form answers to the names of its fields, in Chromium in an isolated world too: with a field
 * that is named so, `form.getBoundingClientRect` is that field. A document answers to those of its
 * images in the page's own world alone, so far; nothing here leans on that. Properties asked of
 * the prototypes are the browser's own.
 */

export const rootElement = (): Element | null => ofDocument("documentElement");
export const bodyElement = (): HTMLElement | null => ofDocument("body");
export const activeElement = (): Element | null => ofDocument("activeElement");
export const hasFocus = (): boolean => Document.prototype.hasFocus.call(document);
export const isConnected = (node: Node): boolean =>
  Reflect.get(Node.prototype, "isConnected", node);
export const boxOf = (element: Element): DOMRect =>
  Element.prototype.getBoundingClientRect.call(element);
export const attributeOf = (element: Element, name: string): string | null =>
  Element.prototype.getAttribute.call(element, name);

export function listenTo(
  target: EventTarget,
  name: string,
  heard: (event: Event) => void,
  how: AddEventListenerOptions,
): void {
  EventTarget.prototype.addEventListener.call(target, name, heard, how);
}

/* For the layer: what it asks of the elements of a page, and of the document */

export const isPageHidden = (): boolean => ofDocument("hidden");
export const fullscreenElement = (): Element | null => ofDocument("fullscreenElement");
export const queryAll = (selector: string): Element[] => [
  ...Document.prototype.querySelectorAll.call(document, selector),
];
export const topElementAt = (x: number, y: number): Element | null =>
  Document.prototype.elementFromPoint.call(document, x, y);
export const elementsAt = (x: number, y: number): Element[] =>
  Document.prototype.elementsFromPoint.call(document, x, y);
export const holdsNode = (outer: Node, inner: Node | null): boolean =>
  Node.prototype.contains.call(outer, inner);
export const parentOf = (element: Element): Element | null =>
  Reflect.get(Node.prototype, "parentElement", element);
export const rootOf = (node: Node): Node => Node.prototype.getRootNode.call(node);
export const isBefore = (one: Node, other: Node): boolean =>
  (Node.prototype.compareDocumentPosition.call(one, other) & Node.DOCUMENT_POSITION_FOLLOWING) !==
  0;
export const isRendered = (element: Element): boolean =>
  Element.prototype.checkVisibility.call(element, {
    checkOpacity: true,
    checkVisibilityCSS: true,
  });
export const isA = (element: Element, selector: string): boolean =>
  Element.prototype.matches.call(element, selector);
export const closest = (element: Element, selector: string): Element | null =>
  Element.prototype.closest.call(element, selector);
export const openRootOf = (element: Element): ShadowRoot | null =>
  Reflect.get(Element.prototype, "shadowRoot", element);
export const appendTo = (parent: Element, child: Element): void =>
  Element.prototype.append.call(parent, child);

function ofDocument<K extends keyof Document>(name: K): Document[K] {
  return Reflect.get(Document.prototype, name, document);
}
