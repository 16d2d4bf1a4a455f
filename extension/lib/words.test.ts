import { beforeEach, describe, expect, test } from "vitest";
import { LANGUAGES, message, speak, texts, vectors } from "../testing/world";
import type { Cause } from "./connection";
import { type Check, SENDS } from "./store";
import { viewOfScan } from "./view";
import { read, scan as scanReader, type Verdict } from "./wire";
import { errorWords, mainSentence, rateInImages, SHAPES, verdictWords } from "./words";

beforeEach(() => speak("en"));

const viewOf = (id: string) => {
  const view = viewOfScan(read(scanReader, message(id)));
  if (!view) throw new Error(`${id} has no verdict`);
  return view;
};

interface Named {
  verdict: Verdict;
  words: string;
}

test.each(vectors("words").verdicts as Named[])("$verdict is called $words", (one) => {
  expect(verdictWords(one.verdict)).toBe(one.words);
});

interface MeasuredRate {
  rate: number;
  n: number;
  words: string;
}

test.each(vectors("words").rates as MeasuredRate[])(
  "a rate of $rate in $n images is $words",
  ({ rate, n, words }) => {
    const { isMeasured, images, of } = rateInImages(rate, n);

    expect(`${isMeasured ? "about" : "at most"} ${images} in ${of}`).toBe(words);
  },
);

test("likely AI comes with how often real photos get that label", () => {
  expect(mainSentence(viewOf("scan-likely-ai"))).toBe(
    "About 3 in 100 real photos like this get this label.",
  );
});

test("no sign of AI comes with what it does not prove", () => {
  expect(mainSentence(viewOf("scan-no-sign"))).toBe("That does not prove that it is real.");
});

test("a verdict by declaration says what was found and how far to trust it", () => {
  expect(mainSentence(viewOf("scan-declared"))).toBe("The file itself says so (xmp, not signed).");
});

test("an error that is not known is told in the server's own words", () => {
  const words = errorWords({ code: "of_tomorrow", detail: "It rained.", hint: "Wait." });

  expect(words).toBe("The check failed: It rained. Wait.");
});

test("every verdict has a shape of its own", () => {
  expect(new Set(Object.values(SHAPES)).size).toBe(4);
});

/** Names that are put together of a prefix and a word: the compiler cannot see that all are there. */
const STAGES = { getting: 1, asking: 1, sending: 1, waiting: 1 } satisfies Partial<
  Record<Check["stage"], 1>
>;
const CAUSES = {
  ready: 1,
  no_model: 1,
  address_invalid: 1,
  address_insecure: 1,
  origin_unknown: 1,
  offline: 1,
  unreachable_local: 1,
  unreachable: 1,
  key_missing: 1,
  key_wrong: 1,
  not_pinclip: 1,
  busy: 1,
} satisfies Record<Cause, 1>;

test.each([
  ...Object.keys(STAGES).map((word) => `stage_${word}`),
  ...Object.keys(CAUSES).map((word) => `cause_${word}`),
  ...SENDS.map((word) => `options_send_${word}`),
  ...["strict", "balanced", "sensitive"].map((word) => `options_point_${word}`),
  ...["never", "ask"].map((word) => `options_private_${word}`),
])("%s has a text", (name) => {
  expect(texts("en")[name]?.message).toBeTruthy();
});

describe.each(LANGUAGES.slice(1))("the texts in %s", (language) => {
  const [english, other] = [texts("en"), texts(language)];

  test("are those of English, none more and none less", () => {
    expect(Object.keys(other).sort()).toEqual(Object.keys(english).sort());
  });

  test.each(Object.keys(english))("%s names the same values", (name) => {
    const values = (text = "") => [...text.matchAll(/\$\d/g)].map(String).sort();

    expect(values(other[name]?.message)).toEqual(values(english[name]?.message));
  });

  test("never call an image real by a verdict", () => {
    speak(language);

    expect(verdictWords("no_sign_of_ai")).not.toMatch(/echt|real|vrai/i);
  });
});
