// Counts the packets and the bytes that come in on `v0`, as a program that uses the library does, and says so at SIGINT
// as tcpdump does.
import { open } from "millrace";

const port = await open("packet:v0?delay=1000"); // npm's pcap hands packets over as late
let packets = 0;
let bytes = 0;
process.on("SIGINT", () => {
  const dropped = port.stats().dropped.kernel ?? 0;
  process.stderr.write(
    `${packets} packets captured\n${bytes} bytes\n${dropped} packets dropped by kernel\n`,
    () => process.exit(0),
  );
});
process.stderr.write("listening on v0\n");
for await (const burst of port)
  for (const packet of burst) {
    packets++;
    bytes += packet.length;
  }
