import { describe, expect, test } from "vitest";
import { vectors } from "../testing/world";
import * as wire from "./wire";

const READERS: Record<string, Parameters<typeof wire.read>[0]> = {
  Scan: wire.scan,
  Upload: wire.upload,
  Lookup: wire.lookup,
  HashRange: wire.hashRange,
  Problem: wire.problem,
  KeyFacts: wire.keyFacts,
  ModelList: wire.modelList,
  Appeal: wire.appeal,
  Feedback: wire.feedback,
  Health: wire.health,
};

interface Case {
  id: string;
  type: string;
  body: unknown;
  reads: Record<string, unknown>;
}
const known = (cases: Case[]) => cases.filter((one) => one.type in READERS);
const { messages, tomorrow, refused } = vectors("wire");

function at(message: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce((found, part) => (found as Record<string, unknown>)?.[part], message);
}

describe("messages of the vectors", () => {
  test.each(known([...messages, ...tomorrow]))("$id is read", ({ type, body, reads }) => {
    const read = wire.read(READERS[type] as never, body);

    for (const [path, value] of Object.entries(reads)) {
      const found = at(read, path);
      // A field that this extension has no use for is left out of what it reads.
      if (found !== undefined) expect(found, path).toEqual(value);
    }
  });

  test.each(known(tomorrow).filter((one) => "verdict" in one.reads))(
    "$id is never read as another verdict",
    ({ type, body, reads }) => {
      const read = wire.read(READERS[type] as never, body);

      expect(at(read, "verdict")).toEqual(reads.verdict);
    },
  );

  test.each(known(refused))("$id is refused", ({ type, body }) => {
    expect(() => wire.read(READERS[type] as never, body)).toThrow(TypeError);
  });
});
