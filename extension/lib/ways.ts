/**
 * The ways in that begin in a tab: what the user does there, to a check of the right image.
 *
 *     menu on an image -------> check by its address --> chip in the frame, card in the panel
 *     menu on anything else --> page.js: what was right-clicked is an image after all | pick one
 *     shortcut ---------------> page.js in every frame: the one with the focus checks its image
 *     page.js: this image ----> check, told to that frame and no other
 *     panel: sweep, pick -----> page.js in every frame
 *
 * All of them are the user's call, which lets us into the tab (activeTab); hovering is not, and
 * happens only where sites.ts has put page.js. What may not be reached is said in the panel.
 */
import { check } from "./check";
import { ImageError } from "./errors";
import type { Frame, FrameMessages, Started, Told } from "./messages";
import { tell } from "./messages";
import { put } from "./sites";
import { type Check, loadCheck, removeCheck, type Source, saveSweep } from "./store";
import { type Consent, failing, fromPage, fromScreen } from "./subjects";
import { say } from "./words";

/** Check the image that was right-clicked, and show how it gets on over it. */
export async function checkClicked(source: Source): Promise<void> {
  const frame = source.tabId === null ? null : { tabId: source.tabId, frameId: source.frameId };
  const id = crypto.randomUUID();
  if (frame) {
    await put(frame.tabId, frame.frameId);
    const begun = { id, title: "", stage: "getting", view: null, error: null } as const;
    await tell("show-check", { address: source.url, told: begun }, frame);
  }
  await showInPage(await check(fromPage(source), { id, frame }), source.url);
}

/** Check again what a person has allowed more for; its card and its chip are replaced. */
export async function checkAgain(checkId: string, consent: Consent): Promise<void> {
  const old = await loadCheck(checkId);
  if (!old?.source) return;
  await removeCheck(checkId);
  const done = await check(fromPage(old.source, consent), { frame: old.frame });
  await showInPage(done, old.source.url);
}

async function showInPage(done: Check, address: string): Promise<void> {
  if (done.frame) await tell("show-check", { address, told: toldOf(done) }, done.frame);
}

/** Check what page.js points at; null where that is another frame's check. */
export async function checkForFrame(
  { checkId, address, how }: FrameMessages["check-image"],
  { tabId, frameId, site }: Frame,
): Promise<Told | null> {
  if (!(await isOwn(checkId, { tabId, frameId }))) return null;
  const subject = fromPage({ url: address, tabId, frameId, site });
  return toldOf(await check(subject, { id: checkId, how, frame: { tabId, frameId } }));
}

/** Check what the screen shows there; null where that is another frame's check. */
export async function captureForFrame(
  { checkId, rect, scale }: FrameMessages["capture-image"],
  { tabId, frameId, windowId, site }: Frame,
): Promise<Told | null> {
  if (!(await isOwn(checkId, { tabId, frameId }))) return null;
  const isTaken = () => void tell("captured", { checkId }, { tabId, frameId });
  const subject = fromScreen({ tabId, windowId, rect, scale, isTaken }, site);
  return toldOf(await check(subject, { id: checkId, frame: { tabId, frameId } }));
}

/** Ids are not to be guessed; that no frame is told another's check does not hang on that alone. */
async function isOwn(checkId: string, frame: NonNullable<Check["frame"]>): Promise<boolean> {
  const known = await loadCheck(checkId);
  if (known === null) return true;
  return known.frame?.tabId === frame.tabId && known.frame.frameId === frame.frameId;
}

function toldOf({ id, title, stage, view, error }: Check): Told {
  return { id, title, stage, view, error };
}

/** Check the image that has the focus, in whichever frame that is. */
export async function checkFocused(tabId: number): Promise<void> {
  const frames = await put(tabId);
  const answers = await Promise.all(
    frames.map((frameId) => tell("check-focused", {}, { tabId, frameId })),
  );
  if (answers.includes(true)) return;
  const why = frames.length > 0 ? NO_FOCUS : UNREACHABLE;
  await check(failing(say("command_check_focused"), why));
}

const NO_FOCUS = new ImageError("no_focus", "No image has the focus.");
const UNREACHABLE = new ImageError("page_unreachable", "The browser lets nobody into this page.");

/** Check what was right-clicked, if page.js saw an image there; else have the user pick one. */
export async function checkContextOrPick(tabId: number, frameId: number): Promise<void> {
  if ((await tell("check-context", {}, { tabId, frameId })) === true) return;
  if ((await pick(tabId)) === "started") return;
  await check(failing(say("menu_pick"), UNREACHABLE));
}

/** Begin to pick, in every frame of the tab. */
export async function pick(tabId: number): Promise<Started> {
  return inEveryFrame(tabId, (to) => tell("pick-start", {}, to));
}

/** Begin to check every image of the tab's page. */
export async function sweep(tabId: number): Promise<Started> {
  const sweepId = crypto.randomUUID();
  return inEveryFrame(tabId, (to) => tell("sweep-start", { sweepId }, to));
}

async function inEveryFrame(
  tabId: number,
  begin: (to: { tabId: number; frameId: number }) => Promise<unknown>,
): Promise<Started> {
  const frames = await put(tabId);
  await Promise.all(frames.map((frameId) => begin({ tabId, frameId })));
  return frames.length > 0 ? "started" : "not_injectable";
}

/** Keep how a frame's sweep gets on, for the panel. */
export async function progressed(
  progress: FrameMessages["sweep-progress"],
  { tabId, frameId }: Frame,
): Promise<void> {
  await saveSweep({ ...progress, tabId, frameId, at: Date.now() });
}
