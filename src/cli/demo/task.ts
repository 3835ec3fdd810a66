import type { Report } from "../../flow/report.js";
import type { ArenaShare } from "../../memory/arena.js";

/** One half of a run of the demo, done by a worker. */
export interface DemoTask {
  readonly role: "send" | "gather" | "both" | "send-plain" | "gather-plain";
  /** The port this half opens; for the plain ones a UDP port number. */
  readonly locator: string;
  /** Headers of each datagram, where the port sends frames. */
  readonly header?: string;
  readonly chunkBytes: number;
  readonly chunks: number;
  readonly payload: number;
  /** Where in the arena the chunk lies that is sent again and again. */
  readonly source: number;
  /** One chunk in so many is compared with the source. */
  readonly verifyEvery: number;
  /** Offset of a word in which the gathering half counts chunks: the sender keeps at most `ahead` chunks ahead of it. */
  readonly progress: number;
  readonly ahead: number;
  /** Milliseconds that the sender waits for chunks under way before it believes that they are lost. */
  readonly patience: number;
}

export interface DemoSeed {
  readonly millrace: ArenaShare;
  readonly task: DemoTask;
}

/** What a half tells when it is done; `ready` comes first from a gathering half. */
export type DemoMessage =
  | { readonly owner: number }
  | { readonly ready: true }
  | {
      readonly result: {
        readonly report?: Report;
        /** Chunks that arrived whole, or were sent. */
        readonly chunks: number;
        readonly datagrams: number;
        /** Chunks that were whole and equal to the source byte for byte, and those that differed. */
        readonly verified: number;
        readonly wrong: number;
        readonly seconds: number;
        /** CPU seconds of this thread. */
        readonly cpu: number;
      };
    };
