/**
 * Whether an address belongs to the user's own machine or network. Pure.
 *
 * Images there are not read or sent without an explicit yes: a router's page or an office's wiki
 * is not for a server elsewhere. A name that only the local resolver knows (no dot, .local, ...)
 * counts as private. What a public name resolves to cannot be seen from an extension.
 */
import ipaddr from "ipaddr.js";

/** Endings of names that no public resolver answers, or that clouds keep for their own metadata. */
const PRIVATE_ENDINGS = [
  "localhost",
  "local",
  "localdomain",
  "internal",
  "intranet",
  "private",
  "lan",
  "home",
  "corp",
  "arpa",
  "onion",
  "test",
  "invalid",
];
/** Looks public, but is the cloud's own server inside each of its machines. */
const AZURE_METADATA = "168.63.129.16";
const GIVEN_OUT = ipaddr.IPv6.parse("2000::");
const METADATA_NAMES = ["metadata.goog", "metadata.tencentyun.com"];

/** True unless the host is public as far as its spelling tells. `host` is URL.hostname. */
export function isPrivateHost(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  if (ipaddr.isValid(name)) return !isPublicAddress(name);
  if (!name.includes(".") || METADATA_NAMES.includes(name)) return true;
  return PRIVATE_ENDINGS.some((ending) => name.endsWith(`.${ending}`));
}

function isPublicAddress(text: string): boolean {
  const address = ipaddr.parse(text);
  // Of IPv6 only 2000::/3 is given out; an IPv4 address inside one is a way round other rules.
  if (address instanceof ipaddr.IPv6 && !address.match(GIVEN_OUT, 3)) return false;
  return address.range() === "unicast" && text !== AZURE_METADATA;
}

/** The browser's name for everything at an origin's host; not every browser takes a port in it. */
export function hostPattern(origin: string): string {
  const { protocol, hostname } = new URL(origin);
  return `${protocol}//${hostname}/*`;
}
