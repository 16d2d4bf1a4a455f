import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { fakeBrowser } from "wxt/testing/fake-browser";
import {
  ask,
  askCheck,
  begun,
  failed,
  hear,
  newId,
  Orphaned,
  type PageHandlers,
  WAITS_MS,
} from "./ask";

const check = { checkId: "1", address: "https://a.example/a.png", how: "hover" } as const;
const BROKEN = "A listener indicated an asynchronous response, but the channel closed.";
let sent: unknown[];

beforeEach(() => {
  vi.useFakeTimers();
  fakeBrowser.runtime.id = "own";
  sent = [];
});
afterEach(() => {
  vi.useRealTimers();
});

/** The worker's answers, one for each time that it is asked; an Error is a channel that broke. */
function worker(...answers: unknown[]): void {
  fakeBrowser.runtime.sendMessage = (async (message: unknown) => {
    sent.push(message);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  }) as never;
}
async function ended<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {}); // it may fail before anyone awaits it
  await vi.runAllTimersAsync();
  return work;
}

test("the answer is the worker's", async () => {
  worker({ hover: true });

  expect(await ask("page-hello", {})).toEqual({ hover: true });
  expect(sent).toEqual([{ kind: "page-hello" }]);
});

test("a worker that was ended is asked again, for the same check", async () => {
  worker(new Error(BROKEN), new Error(BROKEN), { ...begun("1"), stage: "done" });

  const told = await ended(askCheck("check-image", check));

  expect(told.stage).toBe("done");
  expect(sent).toEqual(Array(3).fill({ kind: "check-image", ...check }));
});

test("one that never comes back is no verdict, but a failure in words", async () => {
  worker(...Array(WAITS_MS.length + 1).fill(new Error(BROKEN)));

  const told = await ended(askCheck("check-image", check));

  expect(told).toEqual(failed("1", "interrupted"));
  expect(sent).toHaveLength(WAITS_MS.length + 1);
});

test("what the worker refuses is a failure too", async () => {
  worker(undefined);

  expect((await askCheck("check-image", check)).error?.code).toBe("interrupted");
});

test("a script whose extension is gone does not ask", async () => {
  worker();
  fakeBrowser.runtime.id = undefined as never;

  await expect(ask("page-hello", {})).rejects.toThrow(Orphaned);
  expect(sent).toEqual([]);
});

test("one that loses it while asking stops asking", async () => {
  fakeBrowser.runtime.sendMessage = (async (message: unknown) => {
    sent.push(message);
    fakeBrowser.runtime.id = undefined as never;
    throw new Error("Extension context invalidated.");
  }) as never;

  await expect(ended(ask("page-hello", {}))).rejects.toThrow(Orphaned);
  expect(sent).toHaveLength(1);
});

test("ids are UUIDs, also where a page came by plain http", () => {
  const ids = Array.from({ length: 100 }, newId);

  expect(new Set(ids).size).toBe(100);
  for (const id of ids) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
});

/** Everything of the worker's table, noting what was heard. */
function handlers(heard: unknown[]): PageHandlers {
  const note = (content: unknown) => {
    heard.push(content);
    return true;
  };
  return {
    "show-check": note,
    captured: note,
    "sweep-start": note,
    "sweep-cancel": note,
    "pick-start": note,
    "pick-end": note,
    "check-focused": note,
    "check-context": note,
    "settings-changed": note,
    "tear-down": note,
  };
}
type Listener = (given: unknown, sender: object, answer: (given: unknown) => void) => unknown;
/** What the browser would call with each message. */
function listening(heard: unknown[]): Listener {
  let listener: Listener = () => undefined;
  fakeBrowser.runtime.onMessage.addListener = (given: Listener) => {
    listener = given;
  };
  hear(handlers(heard));
  return listener;
}

test("the worker is heard and answered", async () => {
  const heard: unknown[] = [];
  const answers: unknown[] = [];

  const isOpen = listening(heard)({ kind: "check-focused" }, { id: "own" }, (one) =>
    answers.push(one),
  );
  await vi.runAllTimersAsync();

  expect(isOpen).toBe(true);
  expect(heard).toHaveLength(1);
  expect(answers).toEqual([true]);
});

test.each([
  ["another extension", { kind: "tear-down" }, { id: "other" }],
  ["a script in another tab", { kind: "tear-down" }, { id: "own", tab: { id: 3 } }],
  ["nobody", { kind: "tear-down" }, {}],
  ["the worker, with what is not of the table", { kind: "toString" }, { id: "own" }],
  ["the worker, with nothing", null, { id: "own" }],
])("%s is not heard", (_, given, sender) => {
  const heard: unknown[] = [];

  expect(listening(heard)(given, sender, () => {})).toBeUndefined();
  expect(heard).toEqual([]);
});
