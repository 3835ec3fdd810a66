import { setTimeout as sleep } from "node:timers/promises";

/** A millisecond's rest for a port whose descriptor is ready and which lacks something else. Rejects with the signal's reason. */
export async function pause(signal: AbortSignal): Promise<void> {
  await sleep(1, undefined, { signal }).catch(() => signal.throwIfAborted());
}
