// Prints `address protocol` for each IPv4 address of this network namespace, read from netlink, and
// with --whole ` ifindex length peer [broadcast]` behind: iproute2 before 6.3 cannot show IFA_PROTO. Written without MNM's own decoder, to check it.
import koffi from "koffi";

const libc = koffi.load(null);
const socket = libc.func("int socket(int, int, int)");
const send = libc.func("long send(int, const void *, size_t, int)");
const recv = libc.func("long recv(int, void *, size_t, int)");

const AF_NETLINK = 16;
const AF_INET = 2;
const SOCK_RAW = 3;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const NLM_F_REQUEST_DUMP = 0x301;
const NLMSG_DONE = 3;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_PROTO = 11;

const request = Buffer.alloc(24);
request.writeUInt32LE(24, 0);
request.writeUInt16LE(RTM_GETADDR, 4);
request.writeUInt16LE(NLM_F_REQUEST_DUMP, 6);
request[16] = AF_INET;
const isWhole = process.argv.includes("--whole");
const fd = socket(AF_NETLINK, SOCK_RAW, 0);
send(fd, request, request.length, 0);

function printAddress(message: Buffer): void {
  let address = "";
  let peer = "";
  let broadcast = "";
  let protocol = 0;
  for (let at = 24; at + 4 <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < 4) break;
    const value = message.subarray(at + 4, at + length);
    const type = message.readUInt16LE(at + 2);
    if (type === IFA_ADDRESS) peer = [...value].join(".");
    if (type === IFA_BROADCAST) broadcast = ` ${[...value].join(".")}`;
    if (type === IFA_LOCAL) address = [...value].join(".");
    if (type === IFA_PROTO) protocol = value[0] ?? 0;
    at += (length + 3) & ~3;
  }
  const more = ` ${message.readUInt32LE(20)} ${message.readUInt8(17)} ${peer}${broadcast}`;
  process.stdout.write(`${address} ${protocol}${isWhole ? more : ""}\n`);
}

const buffer = Buffer.alloc(65_536);
for (let isDone = false; !isDone; ) {
  const received = recv(fd, buffer, buffer.length, 0);
  if (received <= 0) process.exit(1);
  for (let at = 0; at + 16 <= received; ) {
    const length = buffer.readUInt32LE(at);
    const type = buffer.readUInt16LE(at + 4);
    if (type === RTM_NEWADDR) printAddress(buffer.subarray(at, at + length));
    isDone ||= type === NLMSG_DONE;
    at += (length + 3) & ~3;
  }
}
