import { expect, test } from "vitest";
import { vectors } from "../testing/world";
import { hostPattern, isPrivateHost } from "./hosts";

interface Case {
  id: string;
  url: string;
  code: string | null;
}
/** Refused by the server for their port, which is nothing to a browser. */
const BY_PORT = new Set(["blocked-h.com:22", "blocked-h.com:6379", "blocked-port-8000"]);
const { cases } = vectors("urls") as { cases: Case[] };

test.each(cases.filter((one) => one.code === "address_blocked" && !BY_PORT.has(one.id)))(
  "$id is private",
  ({ url }) => {
    expect(isPrivateHost(new URL(url).hostname)).toBe(true);
  },
);

test.each(cases.filter((one) => one.code === null))("$id is public", ({ url }) => {
  expect(isPrivateHost(new URL(url).hostname)).toBe(false);
});

test.each([
  ["https://img.example", "https://img.example/*"],
  ["http://img.example:8000", "http://img.example/*"],
  ["https://[2606:4700::1111]", "https://[2606:4700::1111]/*"],
])("%s is asked for as %s", (origin, pattern) => {
  expect(hostPattern(origin)).toBe(pattern);
});
