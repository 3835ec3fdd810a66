// Promiscuous mode that lasts as long as a descriptor (packet(7), PACKET_MR_PROMISC): the kernel takes it back
// when the process ends, however it ends.
import { lackOf } from "./capabilities.js";
import { libc } from "./libc.js";
import { AF_PACKET, openSocket, SOCK_RAW, setOption } from "./socket.js";

const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;

/** Makes an interface take every packet on the wire until the descriptor returned is closed. */
export function holdPromiscuous(index: number, subject: string): number {
  const hints = {
    get EPERM() {
      return lackOf("CAP_NET_RAW");
    },
  };
  const fd = openSocket(AF_PACKET, SOCK_RAW, 0, subject, hints); // protocol 0: it receives nothing
  const membership = Buffer.alloc(16); // struct packet_mreq
  membership.writeInt32LE(index, 0);
  membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
  try {
    setOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership, subject, hints);
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  return fd;
}
