import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Told } from "../lib/messages";
import type { View } from "../lib/view";
import { begun, failed } from "./ask";
import type { Painted } from "./painted";
import { type Progress, SWEEP_LIMIT, Sweeper } from "./sweep";

let page: Painted[];
let asked: string[];
let reports: Progress[];
let answer: (address: string) => Told;
/** How long a check takes. */
let takesMs: number;
let mostAtOnce: number;

const image = (name: string | number): Painted => ({
  element: {} as Element,
  kind: "img",
  address: `https://a.example/${name}`,
});
const images = (count: number) => Array.from({ length: count }, (_, at) => image(at));
const judged = (verdict: string): Told => ({
  ...begun("1"),
  stage: "done",
  view: { verdict } as View,
});

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  reports = [];
  takesMs = 10;
  mostAtOnce = 0;
  answer = () => judged("no_sign_of_ai");
});
afterEach(() => {
  vi.useRealTimers();
});

function sweeper(): Sweeper {
  let atOnce = 0;
  return new Sweeper({
    paintedOnPage: () => page,
    check: async ([first]) => {
      const { address } = first as Painted;
      asked.push(address as string);
      atOnce += 1;
      mostAtOnce = Math.max(mostAtOnce, atOnce);
      await new Promise((done) => setTimeout(done, takesMs));
      atOnce -= 1;
      return answer(address as string);
    },
    report: (progress) => reports.push(progress),
  });
}
async function swept(one: Sweeper, id = "s"): Promise<Progress> {
  const whole = one.start(id);
  await vi.runAllTimersAsync();
  await whole;
  return reports.at(-1) as Progress;
}

test("every image is checked once, however often the page shows it", async () => {
  page = [image("a"), image("b"), image("a"), { ...image("c"), address: null }];

  const end = await swept(sweeper());

  expect(asked).toEqual(["https://a.example/a", "https://a.example/b"]);
  expect(end).toMatchObject({ sweepId: "s", total: 2, done: 2, left: 0, isEnded: true });
});

test("four at a time", async () => {
  page = images(20);

  await swept(sweeper());

  expect(mostAtOnce).toBe(4);
});

test("the end says what was found, by verdict and by error", async () => {
  page = images(4);
  const told = [judged("likely_ai"), judged("declared_ai"), judged("inconclusive")];
  answer = () => told.pop() ?? failed("1", "not_an_image");

  expect(await swept(sweeper())).toMatchObject({
    done: 4,
    flagged: 2,
    failed: 1,
    verdicts: { likely_ai: 1, declared_ai: 1, inconclusive: 1 },
    errors: { not_an_image: 1 },
    reason: null,
  });
});

test("a page with no image ends at once", async () => {
  page = [];

  expect(await swept(sweeper())).toMatchObject({ total: 0, done: 0, left: 0, isEnded: true });
});

test("it is told at most four times a second, and at the end", async () => {
  page = images(400);

  await swept(sweeper()); // 400 images, 4 at a time, 10 ms each: a second

  expect(reports.length).toBeLessThanOrEqual(6);
  expect(reports.length).toBeGreaterThanOrEqual(4);
  expect(reports.filter((one) => one.isEnded)).toHaveLength(1);
});

test("a page with more than fit: the first, and the next sweep goes on", async () => {
  page = images(SWEEP_LIMIT + 30);
  const one = sweeper();

  const first = await swept(one);
  expect(first).toMatchObject({ total: SWEEP_LIMIT, done: SWEEP_LIMIT, left: 30, reason: null });
  asked = [];
  const second = await swept(one);

  expect(second).toMatchObject({ total: 30, done: 30, left: 0 });
  expect(asked[0]).toBe(`https://a.example/${SWEEP_LIMIT}`);
});

test("what failed is tried again by the next sweep, after what is new", async () => {
  page = images(2);
  const one = sweeper();
  answer = (address) =>
    address.endsWith("/0") ? failed("1", "host_not_granted") : judged("likely_ai");
  await swept(one);
  asked = [];
  page = [...page, image("new")];

  await swept(one);

  expect(asked).toEqual(["https://a.example/new", "https://a.example/0"]);
});

test("cancelled, it takes no more and says what is left", async () => {
  page = images(100);
  const one = sweeper();
  const whole = one.start("s");
  await vi.advanceTimersByTimeAsync(takesMs * 2 + 1);

  one.cancel();
  await vi.runAllTimersAsync();
  await whole;

  expect(asked).toHaveLength(12);
  expect(reports.at(-1)).toMatchObject({ isEnded: true, reason: "canceled", done: 8, left: 92 });
});

test("another one ends the one under way", async () => {
  page = images(100);
  const one = sweeper();
  const first = one.start("first");
  await vi.advanceTimersByTimeAsync(takesMs + 1);

  await swept(one, "second");
  await first;

  const ends = reports.filter((report) => report.isEnded);
  expect(ends.map(({ sweepId, reason }) => [sweepId, reason])).toEqual([
    ["first", "canceled"],
    ["second", null],
  ]);
});

test.each([
  "auth_invalid",
  "key_revoked",
  "not_set_up",
  "connection_failed",
  "rate_limited",
  "queue_full",
])("%s would meet all the others too: it stops, and says so", async (code) => {
  page = images(50);
  answer = (address) => (address.endsWith("/5") ? failed("1", code) : judged("likely_ai"));

  const end = await swept(sweeper());

  expect(end).toMatchObject({ isEnded: true, reason: code, failed: 1 });
  expect(end.done + end.left).toBe(50);
  expect(asked.length).toBeLessThan(10);
});

test("a script that lost its extension ends the sweep and says so to its caller", async () => {
  page = images(50);
  answer = () => {
    throw new Error("gone");
  };

  const whole = expect(sweeper().start("s")).rejects.toThrow("gone");
  await vi.runAllTimersAsync();
  await whole;

  expect(asked).toHaveLength(4);
});
