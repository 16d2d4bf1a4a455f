/**
 * The thread that judges: decodes, prepares, runs the model, once more where the verdict hangs on it.
 *
 *     Question -> RGB -> 3 x 224 x 224 -> row -> Reading --likely AI?--> the same, re-encoded -> Local
 *
 * One image at a time, in the order they were asked for. The model is opened with the first one.
 */
import type { Bytes } from "../lib/images";
import type { Answer, Local, Question } from "./channel";
import { judge, mustConfirm, type Reading, readingOf } from "./judge";
import { decoded } from "./picture";
import { prepare, reencoded } from "./prepare";
import type { Picture } from "./resample";
import { opened, type Session } from "./session";
import { keptFile } from "./shelf";

let session: Promise<Session | null> | null = null;
let before: Promise<unknown> = Promise.resolve();

/** Answer one question, after those that came before it. Never throws. */
export function answer({ id, bytes, point }: Question): Promise<Answer> {
  const answered = before.then(async () => ({ id, judged: await judged(bytes, point) }));
  before = answered;
  return answered;
}

async function judged(bytes: Bytes, point: string): Promise<Local | null> {
  try {
    session ??= open();
    const model = await session;
    const picture = model && (await decoded(bytes));
    return picture && (await judgedBy(model, picture, point));
  } catch {
    return null; // it is the server's turn, as without this tier
  }
}

async function open(): Promise<Session | null> {
  const file = await keptFile();
  return file && opened(file);
}

async function judgedBy(session: Session, picture: Picture, point: string): Promise<Local> {
  const { width, height } = picture;
  const size = { width, height };
  const reading = await read(session, picture);
  const again = mustConfirm(reading, size, point) ? await read(session, reencoded(picture)) : null;
  return { ...judge(reading, again, size, point), size, modelId: session.model.id };
}

async function read({ model, run }: Session, picture: Picture): Promise<Reading> {
  return readingOf(await run(prepare(picture, model.preprocessing)), model);
}
