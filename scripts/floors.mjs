// The floors of the house, top first. A file may import from its own room and from rooms on lower floors.
// Rooms on one line stand side by side: neither may import the other.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const floors = [
  ["cli"],
  ["index.ts", "device.ts"],
  ["flow"],
  ["ports"],
  ["device"],
  ["layout", "filter"],
  ["packet"],
  ["memory"],
  ["wasm"],
  ["kernels"],
  ["linux"],
  ["errors.ts"],
];
const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor])));

/** One line for each import in `src/` that goes up or sideways, and for each room that no floor lists. */
export function checkFloors(root) {
  const src = join(root, "src");
  const faults = [];
  for (const name of readdirSync(src, { recursive: true })) {
    if (!name.endsWith(".ts") || name.startsWith("kernels/assembly/")) continue;
    const room = name.split("/")[0];
    const floor = floorOf.get(room);
    if (floor === undefined) {
      faults.push(`src/${name}: the room "${room}" stands on no floor of scripts/floors.mjs`);
      continue;
    }
    const text = readFileSync(join(src, name), "utf8");
    for (const match of text.matchAll(/(?:from|import\(|import)\s*"(\.[^"]+)"/g)) {
      const target = relative(src, resolve(dirname(join(src, name)), match[1])).replace(/\.js$/, ".ts");
      const targetRoom = target.split("/")[0];
      const targetFloor = floorOf.get(targetRoom);
      if (targetRoom === room) continue;
      if (targetFloor === undefined || targetFloor <= floor)
        faults.push(`src/${name}: imports ${target}, which is not on a lower floor`);
    }
  }
  return faults;
}
