/** Elements made from data. Text goes in as text: nothing here reads HTML. */

type Attributes = Record<string, string | boolean | ((event: Event) => void)>;
type Child = Node | string | null;

/** An element: functions are listeners, `true` an attribute without value, `false` none. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** The element of this id in the page's own HTML. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}.`);
  return element;
}

/** Set the page's language and direction to those of its texts. */
export function speak(language: string, direction: string): void {
  document.documentElement.lang = language;
  document.documentElement.dir = direction === "rtl" ? "rtl" : "ltr";
}
