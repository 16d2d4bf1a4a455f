/**
 * One check from end to end: what is known of an image, with as little leaving as will do.
 *
 *     bytes -> sha256 -> verdict of this session? ------------------------------+
 *                 | five digits of it                                           |
 *                 v                                                             v
 *          look-up by range: known? ---------------------------------------> View
 *                 | no; this browser judges by itself, if the user has it do so ^
 *                 | no, and the settings let bytes go                           |
 *                 v                                                             |
 *          upload -> submit -> the scan's id is kept -> wait --> scan with a verdict
 *
 * Every step is written to the store, so that a panel shows it and a worker that was ended in
 * between takes up the wait. Whoever works on a check holds the lock of its name: one that nobody
 * holds has been orphaned. A check ends as `done` or `failed`, and never both. Asked for again
 * under the same id, it is the same check: it is waited for, never made twice.
 */
import { localView } from "../local/ask";
import { Client } from "./api";
import { ImageError, PinclipError } from "./errors";
import { type Bytes, sha256Of } from "./images";
import {
  type Check,
  isEnded,
  listChecks,
  loadCheck,
  loadSettings,
  loadVerdict,
  noteScan,
  noteSent,
  type Settings,
  type Source,
  saveCheck,
  saveVerdict,
  tidy,
} from "./store";
import { fromPage } from "./subjects";
import { asCapture, type View, viewOfLookup, viewOfScan } from "./view";

/** What is checked: how it is shown, and how its bytes are had once it is its turn. */
export interface Subject {
  title: string;
  source: Source | null;
  /** A picture of the screen: whatever is found is at most inconclusive. */
  isCapture: boolean;
  bytes(settings: Settings): Promise<Bytes>;
}

/** How a client of the user's server is made; tests give their own. */
export type Connect = (settings: Settings) => Client;
export const connect: Connect = (settings) => new Client(settings.backend, settings.key);

/** Who asked for a check, and under which id; by default the user, for a check of its own. */
export interface Asked {
  id: string;
  how: Check["how"];
  frame: Check["frame"];
  make: Connect;
}

/** Check one image; returns the check once it is done or has failed. Never throws. */
export async function check(subject: Subject, asked: Partial<Asked> = {}): Promise<Check> {
  const { id = crypto.randomUUID(), make = connect } = asked;
  return await navigator.locks.request(lockName(id), async () => {
    const known = await loadCheck(id);
    if (known && isEnded(known)) return known;
    await tidy(Date.now());
    const begun = known ?? newCheck(id, subject, asked);
    await saveCheck(begun);
    return worked(begun, subject, make);
  });
}

/** Work on a check from where it stands: a scan that was asked for is waited for. */
async function worked(begun: Check, subject: Subject, make: Connect): Promise<Check> {
  return ended(begun, async (step) => {
    const settings = await loadSettings();
    if (!settings.isSetUp) throw new PinclipError("not_set_up", "The first run is not finished.");
    const client = make(settings);
    const view = begun.scanId
      ? await awaited(begun.scanId, client)
      : await judged({ subject, settings, client, step });
    return begun.isCapture ? asCapture(view) : view;
  });
}

/** Go on with every check that nobody works on; one whose image is gone says that it broke off. */
export async function takeUp(make: Connect = connect): Promise<void> {
  const open = (await listChecks()).filter((one) => !isEnded(one));
  await Promise.all(
    open.map(({ id }) =>
      // Whoever works on it has the lock, and gets on without us.
      navigator.locks.request(lockName(id), { ifAvailable: true }, async (lock) => {
        if (lock !== null) await finish(id, make);
      }),
    ),
  );
}

async function finish(id: string, make: Connect): Promise<void> {
  const orphan = await loadCheck(id); // anew: it may have ended since it was listed
  if (orphan === null || isEnded(orphan)) return;
  await worked(orphan, orphan.source ? fromPage(orphan.source) : gone(orphan.title), make);
}

/** What was a file, or a picture of the screen, is not there to be read a second time. */
function gone(title: string): Subject {
  const error = new PinclipError("interrupted", "The check broke off before it was sent.");
  return { title, source: null, isCapture: false, bytes: () => Promise.reject(error) };
}

type Step = (change: Partial<Check>) => Promise<void>;

interface Work {
  subject: Subject;
  settings: Settings;
  client: Client;
  step: Step;
}

async function judged({ subject, settings, client, step }: Work): Promise<View> {
  const bytes = await read(subject, settings);
  // Not ours to read: the server may fetch it, if the user has chosen that. It may get other bytes.
  if (bytes === null) return fetchedByServer(subject.source as Source, { settings, client, step });
  const name = {
    backend: settings.backend,
    sha256: await sha256Of(bytes),
    point: settings.point,
  };
  const view =
    (await loadVerdict(name, Date.now())) ??
    (await lookedUp(bytes, name.sha256, { settings, client, step })) ??
    (settings.localTier ? await localView(bytes, name) : null) ??
    (await scanned(bytes, { settings, client, step }));
  await saveVerdict(name, view, Date.now());
  return view;
}

/** What the server may be asked to fetch: it may reach what this browser was not given. */
const SERVER_MAY_HELP = new Set(["host_not_granted", "fetch_forbidden", "fetch_failed"]);

/** The bytes of the image; null where it is the server that shall fetch them. */
async function read(subject: Subject, settings: Settings): Promise<Bytes | null> {
  try {
    return await subject.bytes(settings);
  } catch (error) {
    const isForServer = error instanceof ImageError && SERVER_MAY_HELP.has(error.code);
    const isHttp = /^https?:/.test(subject.source?.url ?? "");
    if (settings.send === "url" && isForServer && isHttp) return null;
    throw error;
  }
}

async function fetchedByServer(source: Source, work: Sending): Promise<View> {
  const { settings, client, step } = work;
  await step({ stage: "sending" });
  const what = { what: "url", bytes: source.url.length, to: settings.backend } as const;
  await noteSent({ at: Date.now(), ...what });
  const scan = await client.submit({ url: source.url, operating_point: settings.point });
  await kept(scan.id, { settings, step });
  return awaited(scan.id, client);
}

type Sending = Pick<Work, "settings" | "client" | "step">;

async function lookedUp(bytes: Bytes, sha256: string, work: Sending): Promise<View | null> {
  const { settings, client, step } = work;
  await step({ stage: "asking" });
  const prefix = sha256.slice(0, 5);
  await noteSent({ at: Date.now(), what: "prefix", bytes: 5, to: settings.backend });
  const range = await client.lookupRange(prefix, settings.point);
  const known = range.data.find((entry) => entry.sha256 === sha256);
  return known ? viewOfLookup(known, bytes.length) : null;
}

async function scanned(bytes: Bytes, { settings, client, step }: Sending): Promise<View> {
  if (settings.send === "lookup") {
    throw new PinclipError("not_known", "Nothing is known of this image.");
  }
  await step({ stage: "sending" });
  // Written before it leaves: what is not noted was not sent.
  await noteSent({ at: Date.now(), what: "bytes", bytes: bytes.length, to: settings.backend });
  const upload = await client.upload(bytes);
  const request = { upload_id: upload.id, operating_point: settings.point };
  const scan = await client.submit(request);
  await kept(scan.id, { settings, step });
  return awaited(scan.id, client);
}

/** Once the scan's id is kept, whoever takes the check up waits for it and sends nothing again. */
async function kept(scanId: string, { settings, step }: Pick<Work, "settings" | "step">) {
  await step({ stage: "waiting", scanId });
  await noteScan({ id: scanId, at: Date.now(), backend: settings.backend });
}

async function awaited(scanId: string, client: Client): Promise<View> {
  const view = viewOfScan(await client.wait(scanId));
  if (view === null) throw new PinclipError("response_invalid", "The scan has no verdict.");
  return view;
}

/** Do the work, and write what came of it. */
async function ended(begun: Check, work: (step: Step) => Promise<View>): Promise<Check> {
  let now = begun;
  const step: Step = async (change) => {
    now = { ...now, ...change };
    await saveCheck(now);
  };
  try {
    await step({ view: await work(step), stage: "done" });
  } catch (error) {
    await step({ error: told(error, begun.source), stage: "failed" });
  }
  return now;
}

function told(error: unknown, source: Source | null): NonNullable<Check["error"]> {
  if (!(error instanceof PinclipError)) {
    return { code: "internal", detail: String(error), hint: "", origin: null };
  }
  const isHost = error.code === "host_not_granted" && source !== null;
  const origin = isHost ? new URL(source.url).origin : null;
  return { code: error.code, detail: error.message, hint: error.hint, origin };
}

function newCheck(id: string, { title, source, isCapture }: Subject, asked: Partial<Asked>): Check {
  const { how = "user", frame = null } = asked;
  const nothingYet = { scanId: null, view: null, error: null };
  const startedAt = Date.now();
  return { id, title, source, isCapture, how, frame, startedAt, stage: "getting", ...nothingYet };
}

function lockName(id: string): string {
  return `check:${id}`;
}
