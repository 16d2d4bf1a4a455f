/**
 * What a person says to a verdict: a report, which the server keeps, or an appeal, which is decided.
 *
 *     Check -> its scan (what was only looked up is asked for by its sha256) -> report | appeal
 *
 * Both go to the user's server alone, are noted among what left this browser, and are kept with the
 * check. Neither changes the verdict here.
 */
import { type Connect, connect } from "./check";
import { PinclipError } from "./errors";
import { type Check, loadSettings, noteScan, noteSent, type Settings, saveCheck } from "./store";

export type Label = "ai" | "not_ai";

/** Have the server keep what the image is in truth; returns the check with it. Throws PinclipError. */
export async function report(
  check: Check,
  label: Label,
  comment: string,
  make: Connect = connect,
): Promise<Check> {
  const { settings, scanId } = await noted(check, comment, make);
  const { scan_id } = await make(settings).feedback(scanId, { label, comment });
  return kept({ ...check, reported: { label, scanId: scan_id, at: Date.now() } });
}

/** Ask for a decision on an accusing verdict; returns the check with it. Throws PinclipError. */
export async function appeal(
  check: Check,
  reason: string,
  make: Connect = connect,
): Promise<Check> {
  const { settings, scanId } = await noted(check, reason, make);
  const { id } = await make(settings).appeal(scanId, { reason });
  return kept({ ...check, appealed: { id } });
}

async function noted(check: Check, words: string, make: Connect) {
  const settings = await loadSettings();
  const bytes = new TextEncoder().encode(words).length;
  // Written before it leaves, as everything that does.
  await noteSent({ at: Date.now(), what: "report", bytes, to: settings.backend });
  return { settings, scanId: await scanOf(check, settings, make) };
}

/** The scan of this verdict: a look-up has none until it is asked for. */
async function scanOf(check: Check, settings: Settings, make: Connect): Promise<string> {
  const known = check.view?.scanId ?? check.scanId;
  if (known) return known;
  const sha256 = check.view?.sha256;
  if (!sha256) throw new PinclipError("input_invalid", "There is no verdict to report.");
  const scan = await make(settings).submit({ sha256, operating_point: settings.point });
  await noteScan({ id: scan.id, at: Date.now(), backend: settings.backend });
  return scan.id;
}

async function kept(check: Check): Promise<Check> {
  await saveCheck(check);
  return check;
}
