// A station on a link that speaks no protocol: sends each line of stdin as an Ethernet frame, and
// writes each frame that holds ARP, or that is tagged, to stdout. Argument: IFINDEX.
import { createInterface } from "node:readline";
import koffi from "koffi";

const libc = koffi.load(null);
const socket = libc.func("int socket(int, int, int)");
const bind = libc.func("int bind(int, const void *, uint32_t)");
const sendto = libc.func("long sendto(int, const void *, size_t, int, const void *, uint32_t)");
const recv = libc.func("long recv(int, void *, size_t, int)");

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ARP = 0x0806;

/** struct sockaddr_ll. */
const link = Buffer.alloc(20);
link.writeUInt16LE(AF_PACKET, 0);
link.writeUInt16BE(ETH_P_ARP, 2);
link.writeUInt32LE(Number(process.argv[2]), 4);

const out = socket(AF_PACKET, SOCK_RAW, 0);
const into = socket(AF_PACKET, SOCK_RAW, 0);
if (bind(into, link, link.length) !== 0) throw new Error("No such link");

function listen(): void {
  const frame = Buffer.alloc(2048);
  recv.async(into, frame, frame.length, 0, (_: unknown, length: number) => {
    if (length > 0) process.stdout.write(`${frame.subarray(0, length).toString("hex")}\n`);
    listen();
  });
}
listen();
process.stdout.write("ready\n");

createInterface({ input: process.stdin }).on("line", (hex) => {
  const frame = Buffer.from(hex, "hex");
  const sent = sendto(out, frame, frame.length, 0, link, link.length);
  process.stdout.write(sent === frame.length ? "sent\n" : `failed ${hex}\n`);
});
