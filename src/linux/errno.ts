import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";
import { MillraceError } from "../errors.js";
import { libc } from "./libc.js";

/** errno values by name, positive: `ERRNO.EAGAIN`. */
export const ERRNO = constants.errno;

/** What to do about an error, by the name of its errno. */
export type Hints = Readonly<Record<string, string>>;

/** The error of a failed system call: `code` is the errno's name, the message says what `subject` failed at. */
export function systemError(
  errno: number,
  syscall: string,
  subject: string,
  hints: Hints = {},
): MillraceError {
  const [name, text] = getSystemErrorMap().get(-errno) ?? [`ERRNO_${errno}`, "unknown error"];
  const hint = hints[name];
  return new MillraceError(name, `${subject}: ${syscall}: ${text} (${name})`, {
    syscall,
    errno: -errno,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Returns a system call's result, or throws its error when it is negative. Nothing may come between the two. */
export function check(result: number, syscall: string, subject: string, hints: Hints = {}): number {
  if (result >= 0) return result;
  throw systemError(libc().errno(), syscall, subject, hints);
}
