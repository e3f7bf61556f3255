// Sends Ethernet frames as they are, such as no ordinary program would: IFINDEX HEX…
import koffi from "koffi";

const libc = koffi.load(null);
const socket = libc.func("int socket(int, int, int)");
const sendto = libc.func("long sendto(int, const void *, size_t, int, const void *, uint32_t)");

const [ifindex = "", ...frames] = process.argv.slice(2);
const AF_PACKET = 17;
const SOCK_RAW = 3;
const to = Buffer.alloc(20);
to.writeUInt16LE(AF_PACKET, 0);
to.writeUInt32LE(Number(ifindex), 4);
const fd = socket(AF_PACKET, SOCK_RAW, 0);
for (const hex of frames) {
  const frame = Buffer.from(hex, "hex");
  if (sendto(fd, frame, frame.length, 0, to, to.length) !== frame.length) process.exitCode = 1;
}
