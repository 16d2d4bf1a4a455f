/**
 * lib/wire.gen.ts from docs/openapi.json.
 *
 *   node scripts/wire.ts           exit 1 where the committed file is stale
 *   node scripts/wire.ts --write   write it anew
 */
import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

const SCHEMA = new URL("../../docs/openapi.json", import.meta.url);
const WIRE = new URL("../lib/wire.gen.ts", import.meta.url);
const HEAD = "// Generated from docs/openapi.json by `npm run wire`. Never edited.\n\n";

/** What lib/wire.gen.ts should hold. */
export async function wanted(): Promise<string> {
  return HEAD + astToString(await openapiTS(SCHEMA, { enumValues: true }));
}

/** What it holds; empty where there is none. */
export async function present(): Promise<string> {
  return readFile(WIRE, "utf8").catch(() => "");
}

async function main(): Promise<void> {
  const text = await wanted();
  if (process.argv.includes("--write")) {
    await writeFile(WIRE, text);
  } else if (text !== (await present())) {
    console.error("lib/wire.gen.ts is not what docs/openapi.json says: run `npm run wire`.");
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main();
}
