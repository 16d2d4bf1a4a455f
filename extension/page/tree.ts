/**
 * The elements of a page, with those of its shadow roots among them: open ones and closed ones.
 *
 * Only the browser can open a closed root, and only for an extension.
 */
import { browser } from "wxt/browser";
import { holdsNode, rootOf } from "./unshadowed";

/** The elements that the standard lets have a root: these, and those with a name of their own. */
const CAN_HOST =
  /-|^(article|aside|blockquote|body|div|footer|h[1-6]|header|main|nav|p|section|span)$/;
const PARENT = Object.getOwnPropertyDescriptor(Node.prototype, "parentNode")?.get as () => unknown;

/** The elements at a point of the viewport, topmost first. */
export function elementsAt(x: number, y: number): Generator<Element> {
  return opened(document.elementsFromPoint(x, y), { x, y }, new Set());
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
        within.filter((one) => rootOf(one) === root),
        point,
        met,
      );
      yield* opened(
        hits.slice(index + 1).filter((one) => holdsNode(element, one)),
        point,
        met,
      );
    }
    yield element;
  }
}

/** Every element under a root, with those of the shadow roots in it, in document order. */
export function* elementsUnder(root: Document | Element | ShadowRoot): Generator<Element> {
  const own = root instanceof Element ? shadowOf(root) : null;
  if (own) yield* elementsUnder(own);
  for (const element of elementsOf(root)) {
    yield element;
    const inner = shadowOf(element);
    if (inner) yield* elementsUnder(inner);
  }
}

function elementsOf(root: Document | Element | ShadowRoot): NodeListOf<Element> {
  if (root instanceof Element) return Element.prototype.querySelectorAll.call(root, "*");
  return root.querySelectorAll("*");
}

/** An element's root, also a closed one: only the browser can open that, and only for us. */
function shadowOf(element: Element): ShadowRoot | null {
  if (!(element instanceof HTMLElement) || !CAN_HOST.test(element.localName)) return null;
  if (import.meta.env.FIREFOX) return (element as FirefoxElement).openOrClosedShadowRoot;
  return element.shadowRoot ?? browser.dom.openOrClosedShadowRoot(element);
}

/** Firefox has no browser.dom, and a property that only extensions see. */
type FirefoxElement = HTMLElement & { openOrClosedShadowRoot: ShadowRoot | null };

/** The element around another; of what is right in a root, its host. */
export function parentOf(element: Element): Element | null {
  const parent = PARENT.call(element) as Node | null;
  if (parent instanceof ShadowRoot) return parent.host;
  return parent instanceof Element ? parent : null;
}
