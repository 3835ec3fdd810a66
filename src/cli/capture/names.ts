// Names of the files that a capture is cut into, as tcpdump(1) gives them for -C, -G and -W.

export interface Rotation {
  /** Millions of bytes. */
  readonly megabytes?: number | undefined;
  readonly seconds?: number | undefined;
  readonly files?: number | undefined;
}

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  ...["January", "February", "March", "April", "May", "June"],
  ...["July", "August", "September", "October", "November", "December"],
];

/** The conversions of strftime(3) in local time, as far as they do not depend on a language. */
export function strftime(format: string, date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const dayOfYear = Math.floor(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) /
      864e5,
  );
  const zone = -date.getTimezoneOffset();
  const sign = zone < 0 ? "-" : "+";
  const conversions: Readonly<Record<string, () => string>> = {
    a: () => DAYS[date.getDay()].slice(0, 3),
    A: () => DAYS[date.getDay()],
    b: () => MONTHS[date.getMonth()].slice(0, 3),
    B: () => MONTHS[date.getMonth()],
    C: () => two(Math.floor(date.getFullYear() / 100)),
    d: () => two(date.getDate()),
    D: () => strftime("%m/%d/%y", date),
    e: () => String(date.getDate()).padStart(2, " "),
    F: () => strftime("%Y-%m-%d", date),
    h: () => MONTHS[date.getMonth()].slice(0, 3),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    j: () => String(dayOfYear + 1).padStart(3, "0"),
    m: () => two(date.getMonth() + 1),
    M: () => two(date.getMinutes()),
    n: () => "\n",
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    R: () => strftime("%H:%M", date),
    s: () => String(Math.floor(date.getTime() / 1000)),
    S: () => two(date.getSeconds()),
    t: () => "\t",
    T: () => strftime("%H:%M:%S", date),
    u: () => String(date.getDay() || 7),
    w: () => String(date.getDay()),
    y: () => two(date.getFullYear() % 100),
    Y: () => String(date.getFullYear()),
    z: () => `${sign}${two(Math.floor(Math.abs(zone) / 60))}${two(Math.abs(zone) % 60)}`,
    "%": () => "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => conversions[letter]?.() ?? whole);
}

/**
 * The name of file number `count` (from 0): with -G the pattern's conversions are filled in from `started`, with
 * -C a number follows from the second file on, or, with -W, from the first on and as wide as it takes.
 */
export function fileName(pattern: string, rotation: Rotation, count: number, started: Date): string {
  const base = rotation.seconds === undefined ? pattern : strftime(pattern, started);
  if (rotation.megabytes === undefined) return base;
  if (rotation.files === undefined) return count === 0 ? base : `${base}${count}`;
  return `${base}${String(count).padStart(String(rotation.files - 1).length, "0")}`;
}
