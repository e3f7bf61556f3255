// The lab's own DHCP server, for machines without dnsmasq and for leases shorter than the two
// minutes that dnsmasq insists on. One address for one hardware address, from a file that is
// read again at SIGHUP. It runs in an ISP's namespace: dhcp-server.js FILE
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";

/** What the file holds, as JSON. */
export interface DhcpServerConfig {
  readonly mac: string;
  readonly address: string;
  readonly gateway: string;
  readonly leaseSec: number;
}

const COOKIE = 0x63825363;
const OPTIONS_OFFSET = 240;
const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const DECLINE = 4;
const ACK = 5;
const NAK = 6;
const RELEASE = 7;
const INFORM = 8;
const NAMES = ["", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"];

const [file = ""] = process.argv.slice(2);
const read = (): DhcpServerConfig => JSON.parse(readFileSync(file, "utf8"));
let config = read();
process.on("SIGHUP", () => {
  config = read();
  console.log(`read ${file}: ${config.mac} gets ${config.address}`);
});

const bytesOf = (address: string) => address.split(".").map(Number);
const textOf = (bytes: Uint8Array) => bytes.join(".");
const uint32 = (value: number) => [
  value >>> 24,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
];

function optionsOf(packet: Buffer): ReadonlyMap<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = OPTIONS_OFFSET; at < packet.length && packet[at] !== 255; ) {
    const code = packet[at] ?? 0;
    const length = packet[at + 1] ?? 0;
    // Pad is the one option without a length.
    if (code !== 0) options.set(code, packet.subarray(at + 2, at + 2 + length));
    at += code === 0 ? 1 : 2 + length;
  }
  return options;
}

/** RFC 2131 table 4: which answer a message deserves; undefined for silence. */
function answerTo(packet: Buffer, options: ReadonlyMap<number, Buffer>): number | undefined {
  const mac = [...packet.subarray(28, 34)].map((byte) => byte.toString(16).padStart(2, "0"));
  if (mac.join(":") !== config.mac) return undefined;
  const kind = options.get(53)?.[0];
  if (kind === DISCOVER) return OFFER;
  if (kind === INFORM) return ACK;
  if (kind !== REQUEST) return undefined;
  const server = options.get(54);
  if (server !== undefined && textOf(server) !== config.gateway) return undefined;
  const asked = options.get(50) ?? packet.subarray(12, 16);
  return textOf(asked) === config.address ? ACK : NAK;
}

function replyTo(packet: Buffer, kind: number, informed: boolean): Buffer {
  const reply = Buffer.alloc(OPTIONS_OFFSET);
  packet.copy(reply, 0, 0, 44);
  reply[0] = 2;
  reply.fill(0, 8, 10);
  if (kind === NAK) reply.fill(0, 12, 16);
  if (kind !== NAK && !informed) reply.set(bytesOf(config.address), 16);
  reply.writeUInt32BE(COOKIE, 236);
  const options = [53, 1, kind, 54, 4, ...bytesOf(config.gateway)];
  if (kind !== NAK) {
    if (!informed) options.push(51, 4, ...uint32(config.leaseSec));
    options.push(1, 4, 255, 255, 255, 0, 3, 4, ...bytesOf(config.gateway));
  }
  options.push(255);
  // BOOTP's least length; some clients drop shorter ones.
  return Buffer.concat([reply, Buffer.from(options)], 300);
}

const socket = createSocket("udp4");
socket.on("message", (packet) => {
  if (packet.length < OPTIONS_OFFSET || packet.readUInt32BE(236) !== COOKIE) return;
  const options = optionsOf(packet);
  const asked = options.get(53)?.[0] ?? 0;
  const kind = answerTo(packet, options);
  if (asked === DECLINE || asked === RELEASE || kind === undefined) {
    console.log(`${NAMES[asked] ?? asked}: no answer`);
    return;
  }
  console.log(`${NAMES[asked]}: ${NAMES[kind]} ${config.address}`);
  // Always broadcast: right for a client without an address, and harmless for one that renews.
  socket.send(replyTo(packet, kind, asked === INFORM), 68, "255.255.255.255", (error) => {
    if (error) console.log(`send: ${error.message}`);
  });
});
socket.bind(67, "0.0.0.0", () => {
  socket.setBroadcast(true);
  console.log("the lab's own DHCP server is ready");
});
