// Sends every datagram to port 7 back to where it came from, and says when it begins.
import { createSocket } from "node:dgram";

const socket = createSocket("udp4");
socket.on("message", (message, { address, port }) => socket.send(message, port, address));
socket.bind(7, () => console.log("listening"));
