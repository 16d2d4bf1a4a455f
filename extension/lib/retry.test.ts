import { expect, test } from "vitest";
import { vectors } from "../testing/world";
import { delay, mayRetry, readRetryAfter } from "./retry";

interface Case {
  id: string;
  retry_after: string | null;
  date: string | null;
  seconds: number | "forever" | null;
}
interface Try extends Pick<Case, "id" | "seconds"> {
  is_retried: boolean;
}
const { cases, tries } = vectors("retry_after") as { cases: Case[]; tries: Try[] };
const number = (given: Case["seconds"]) => (given === "forever" ? Number.POSITIVE_INFINITY : given);

test.each(cases)("Retry-After, $id", ({ retry_after, date, seconds }) => {
  expect(readRetryAfter(retry_after, date)).toBe(number(seconds));
});

test.each(tries)("a try, $id", ({ seconds, is_retried }) => {
  expect(delay(0, number(seconds), 0) !== null).toBe(is_retried);
});

test.each([
  [null, true],
  [408, true],
  [429, true],
  [500, true],
  [503, true],
  [400, false],
  [403, false],
  [404, false],
])("status %s may be retried: %s", (status, may) => {
  expect(mayRetry(status)).toBe(may);
});
