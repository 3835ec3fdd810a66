const LIMIT_MS = 120_000;
const PAUSE_MS = 20;

/** Polls until something holds; after two minutes throws, with what it was waiting for. */
export async function until(what: string | (() => string), holds: () => boolean): Promise<void> {
  for (const end = Date.now() + LIMIT_MS; !holds(); ) {
    if (Date.now() > end) throw new Error(`waited in vain until ${typeof what === "string" ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
