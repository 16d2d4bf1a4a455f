/** Dropping a file on a page of the extension, as a person does: by an event with the file in it. */
import type { Page } from "playwright-core";

export async function dropped(
  page: Page,
  name: string,
  bytes: Buffer,
  type = "image/png",
): Promise<void> {
  await page.locator("#zone").waitFor();
  const files = await page.evaluateHandle(
    ([title, kind, numbers]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(numbers)], title, { type: kind }));
      return transfer;
    },
    [name, type, [...bytes]] as const,
  );
  await page.dispatchEvent("#zone", "drop", { dataTransfer: files });
}
