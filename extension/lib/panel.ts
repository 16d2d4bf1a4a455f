/**
 * The trusted copy of a verdict, brought before the user: a page of ours that no site can draw on.
 *
 *     side panel (Chromium), sidebar (Firefox) --not in this moment--> a small window of its own
 *
 * Browsers open their panel only while a click still counts. Firefox does not count a click that a
 * page's frame has told us of, so what is asked for there needs the window.
 */
import { browser } from "wxt/browser";

const PAGE = "/sidepanel.html";
const SIZE = { width: 440, height: 720 };

/** Open the panel beside a window; false where the browser will not. Call it before any await. */
export async function openPanel(windowId: number | undefined): Promise<boolean> {
  try {
    const { sidebarAction } = browser as { sidebarAction?: Sidebar };
    if (sidebarAction) await sidebarAction.open();
    else if (windowId !== undefined) await browser.sidePanel.open({ windowId });
    return true;
  } catch {
    return false;
  }
}

/** Open it beside a window, or in a window of its own. Call it before any await. */
export async function openPanelOrWindow(windowId: number): Promise<void> {
  const isOpen = await openPanel(windowId);
  if (isOpen || (await isSidebarOpen(windowId))) return;
  const url = browser.runtime.getURL(PAGE);
  const [there] = await browser.tabs.query({ url });
  if (there) await browser.windows.update(there.windowId, { focused: true });
  else await browser.windows.create({ url, type: "popup", ...SIZE });
}

/** A sidebar that is open already shows it, though it may not be opened just now. */
async function isSidebarOpen(windowId: number): Promise<boolean> {
  const { sidebarAction } = browser as { sidebarAction?: Sidebar };
  return (await sidebarAction?.isOpen({ windowId })) ?? false;
}

interface Sidebar {
  open(): Promise<void>;
  isOpen(where: { windowId: number }): Promise<boolean>;
}
