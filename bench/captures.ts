// Reading capture files: against `tcpdump -r FILE -w /dev/null` and against npm's pcap-parser, which calls back for
// each packet, over sizes of packets.
import { rmSync } from "node:fs";
import { startBench } from "./compare.js";
import { heapGrowth, installParser, makeFile, makeFolder, ours, parser, tcpdump } from "./peers/captures.js";

const LARGE = 1e9;
const SMALL = 1e8;

const bench = startBench("Reading capture files");
const folder = makeFolder();
try {
  for (const [size, mean] of [
    ["60", 60],
    ["imix", 357.8],
    ["1514", 1514],
  ] as const) {
    const file = makeFile(folder, `${size}.pcap`, size, mean, LARGE);
    await bench.compare({
      name: `reading 1 GB, ${size === "imix" ? size : `${size} B`}`,
      unit: "MB/s",
      against: "tcpdump -r F -w /dev/null",
      ours: () => ours(file),
      peer: () => tcpdump(file),
      goal: "≥ 1.5",
    });
    if (size === "imix") bench.note("heap growth, reading 1 GB", await heapGrowth(file), "bytes a packet");
    rmSync(file.path);
  }
  const small = makeFile(folder, "small.pcap", "imix", 357.8, SMALL);
  const peer = installParser();
  await bench.compare({
    name: "reading 100 MB, imix",
    unit: "MB/s",
    against: "npm pcap-parser",
    ours: () => ours(small),
    peer: () => parser(peer, small),
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
bench.finish();
