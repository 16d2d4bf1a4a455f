/**
 * The DOM as the browser has it, whatever names a page gives to its elements. No state.
 *
 * A document answers to the names of its images and forms, a form to those of its fields, even in
 * an isolated world: with <img name="body"> in a page, `document.body` is that image. Properties
 * asked of the prototypes are the browser's own.
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

function ofDocument<K extends keyof Document>(name: K): Document[K] {
  return Reflect.get(Document.prototype, name, document);
}
