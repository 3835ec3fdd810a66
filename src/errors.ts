/** Where in an input the fault lies: a file and byte offset, a column of an expression, a path in a JSON document. */
export interface FaultPlace {
  readonly file?: string;
  /** Byte offset from the start of the file or stream. */
  readonly offset?: number;
  /** Column in an expression, from 1. */
  readonly column?: number;
  /** JSON path, as `$.chunk.bytes`. */
  readonly path?: string;
}

export interface FaultDetails {
  readonly syscall?: string;
  /** Negative, as in Node's SystemError. */
  readonly errno?: number;
  readonly at?: FaultPlace;
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * The one error millrace throws. `code` is one of the `ERR_…` names below or, for a failed system call, the
 * name of its errno (`EPERM`, `ENODEV`, …). The message names the thing at fault; `hint` is the way out.
 */
export class MillraceError extends Error {
  override readonly name = "MillraceError";
  readonly code: ErrorCode;
  readonly syscall?: string;
  readonly errno?: number;
  readonly at?: FaultPlace;
  readonly hint?: string;

  constructor(code: ErrorCode, message: string, details: FaultDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.errno !== undefined) this.errno = details.errno;
    if (details.at !== undefined) this.at = details.at;
    if (details.hint !== undefined) this.hint = details.hint;
  }
}

/** An error that came from another thread, which leaves its class behind: a MillraceError is one again. */
export function reviveError(error: unknown): unknown {
  if (error instanceof MillraceError || !(error instanceof Error) || error.name !== "MillraceError")
    return error;
  const { message, code, syscall, errno, at, hint, cause } = error as MillraceError;
  const revived = new MillraceError(code, message, {
    ...(syscall === undefined ? {} : { syscall }),
    ...(errno === undefined ? {} : { errno }),
    ...(at === undefined ? {} : { at }),
    ...(hint === undefined ? {} : { hint }),
    ...(cause === undefined ? {} : { cause }),
  });
  if (error.stack !== undefined) revived.stack = error.stack;
  return revived;
}

export type ErrorCode =
  | "ERR_USAGE"
  | "ERR_LOCATOR"
  | "ERR_FILTER"
  | "ERR_LAYOUT"
  | "ERR_TEMPLATE"
  | "ERR_CAPTURE"
  | "ERR_CAPABILITY"
  | "ERR_DEVICE"
  | "ERR_MEMORY"
  | "ERR_FRAME"
  | "ERR_RELEASED"
  | "ERR_CLOSED"
  | "ERR_BOUNDS"
  | "ERR_HEADER"
  | "ERR_TRANSFORM"
  | (string & {});
