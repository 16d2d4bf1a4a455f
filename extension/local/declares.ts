/**
 * Whether a file may say of itself that AI made it. Pure.
 *
 * The server reads such declarations properly (worker/declarations.py), and one outweighs what the
 * model sees. This only tells which files to leave to it, so it errs on that side: it looks for
 * the words anywhere in the file, and takes packed text for a declaration.
 */
import type { Bytes } from "../lib/images";

const WORDS =
  /digitalsourcetype|jumb|c2pa|cabx|ztxt|itxt|steps: \d|novelai|invokeai|sd-metadata|class_type|"dream"/;

export function mayDeclare(bytes: Bytes): boolean {
  // Two bytes a letter, as EXIF has them, read as one.
  const text = new TextDecoder("latin1").decode(bytes).replaceAll("\0", "").toLowerCase();
  return WORDS.test(text);
}
