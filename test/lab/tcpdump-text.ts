/**
 * What `tcpdump -n -e -vvv -tt` prints, read back: the tests compare our client with what an
 * independent decoder saw on the wire, not with what our own codec thinks of it.
 *
 * A packet is a line with its time and MACs, and indented lines that belong to it.
 */
export type MessageKind =
  | "discover"
  | "offer"
  | "request"
  | "decline"
  | "ack"
  | "nak"
  | "release"
  | "inform";

/** A DHCP message. Addresses that are 0.0.0.0 in the header are so here. */
export interface DhcpPacket {
  readonly type: "dhcp";
  /** Milliseconds of the capture's own clock. */
  readonly at: number;
  readonly fromMac: string;
  readonly toMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of UDP. Not to be had of what a kernel sent over veth, which leaves it to hardware. */
  readonly checksumOk: boolean;
  readonly kind: MessageKind;
  readonly chaddr: string;
  readonly xid: string;
  readonly secs: number;
  readonly broadcastFlag: boolean;
  readonly ciaddr: string;
  readonly yiaddr: string;
  readonly giaddr: string;
  /** Option 50. */
  readonly requested: string | undefined;
  /** Option 54. */
  readonly serverId: string | undefined;
  /** Options 51, 58 and 59. */
  readonly leaseSec: number | undefined;
  readonly t1Sec: number | undefined;
  readonly t2Sec: number | undefined;
  readonly subnetMask: string | undefined;
}

/** ICMP destination unreachable, whatever it is about. */
export interface UnreachablePacket {
  readonly type: "unreachable";
  readonly at: number;
  readonly source: string;
  readonly destination: string;
  /** As in "udp port 68 unreachable". */
  readonly what: string;
}

export type CapturedPacket = DhcpPacket | UnreachablePacket;

const KINDS: Readonly<Record<string, MessageKind>> = {
  Discover: "discover",
  Offer: "offer",
  Request: "request",
  Decline: "decline",
  ACK: "ack",
  NACK: "nak",
  Release: "release",
  Inform: "inform",
};

const FRAME = /^(\d+\.\d+) ([0-9a-f:]{17}) > ([0-9a-f:]{17}), ethertype IPv4 /;
const UDP = /^\s+([\d.]+)\.(\d+) > ([\d.]+)\.(\d+): (\[[^\]]*\])? ?BOOTP\/DHCP, (.*)$/;
const ICMP = /^\s+([\d.]+) > ([\d.]+): ICMP (.* unreachable)/;

/**
 * The complete packets of a text. The last one counts only once a line of another follows it, for
 * it may still be being written.
 */
export function readTcpdump(text: string): readonly CapturedPacket[] {
  const packets = text.split(/\n(?=\d+\.\d+ )/);
  const whole = isClosed(packets.at(-1) ?? "") ? packets : packets.slice(0, -1);
  return whole.flatMap((packet) => readPacket(packet.split("\n")) ?? []);
}

/** tcpdump writes a packet at once, but for long ones; every DHCP message that ends says so. */
function isClosed(packet: string): boolean {
  return /END \(255\), length 0(, occurs \d+)?\n|unreachable.*\n(.*\n)+/.test(packet);
}

function readPacket(lines: readonly string[]): CapturedPacket | undefined {
  const [first = "", second = ""] = lines;
  const frame = FRAME.exec(first);
  if (frame === null) return undefined;
  const at = Math.round(Number(frame[1]) * 1000);
  const icmp = ICMP.exec(second);
  if (icmp !== null) {
    const [, source = "", destination = "", what = ""] = icmp;
    return { type: "unreachable", at, source, destination, what };
  }
  const udp = UDP.exec(second);
  if (udp === null) return undefined;
  const [, , fromMac = "", toMac = ""] = frame;
  const [, source = "", sourcePort, destination = "", destinationPort, sum = ""] = udp;
  const message = readMessage(udp[6] ?? "", lines.slice(2).join("\n"));
  if (message === undefined) return undefined;
  return {
    type: "dhcp",
    at,
    fromMac,
    toMac,
    source,
    destination,
    sourcePort: Number(sourcePort),
    destinationPort: Number(destinationPort),
    checksumOk: sum === "[udp sum ok]",
    ...message,
  };
}

type Message = Omit<
  DhcpPacket,
  | "type"
  | "at"
  | "fromMac"
  | "toMac"
  | "source"
  | "destination"
  | "sourcePort"
  | "destinationPort"
  | "checksumOk"
>;

function readMessage(head: string, body: string): Message | undefined {
  const field = (pattern: RegExp, text = body) => pattern.exec(text)?.[1];
  const seconds = (name: string) => {
    const value = field(new RegExp(`^\\s+${name} \\(\\d+\\), length 4: (\\d+)$`, "m"));
    return value === undefined ? undefined : Number(value);
  };
  const address = (name: string) =>
    field(new RegExp(`^\\s+${name} \\(\\d+\\), length 4: ([\\d.]+)$`, "m"));
  const kind = KINDS[field(/^\s+DHCP-Message \(53\), length 1: (\w+)$/m) ?? ""];
  if (kind === undefined) return undefined;
  return {
    kind,
    chaddr: field(/^\s+Client-Ethernet-Address ([0-9a-f:]{17})$/m) ?? "",
    xid: field(/xid (0x[0-9a-f]+)/, head) ?? "",
    secs: Number(field(/secs (\d+)/, head) ?? 0),
    broadcastFlag: /Flags \[Broadcast\]/.test(head),
    ciaddr: field(/^\s+Client-IP ([\d.]+)$/m) ?? "0.0.0.0",
    yiaddr: field(/^\s+Your-IP ([\d.]+)$/m) ?? "0.0.0.0",
    giaddr: field(/^\s+Gateway-IP ([\d.]+)$/m) ?? "0.0.0.0",
    requested: address("Requested-IP"),
    serverId: address("Server-ID"),
    leaseSec: seconds("Lease-Time"),
    t1Sec: seconds("RN"),
    t2Sec: seconds("RB"),
    subnetMask: address("Subnet-Mask"),
  };
}

/** A message in one line, with what tells one exchange from another and nothing that varies. */
export function packetText(packet: DhcpPacket): string {
  const { kind, source, destination, ciaddr, yiaddr, giaddr, requested, serverId } = packet;
  const isAsking = kind !== "offer" && kind !== "ack" && kind !== "nak";
  return [
    `${kind} ${source} > ${destination}`,
    ciaddr !== "0.0.0.0" && isAsking ? `ciaddr ${ciaddr}` : "",
    yiaddr !== "0.0.0.0" ? `yiaddr ${yiaddr}` : "",
    giaddr !== "0.0.0.0" ? `giaddr ${giaddr}` : "",
    requested !== undefined ? `requested ${requested}` : "",
    serverId !== undefined ? `server ${serverId}` : "",
  ]
    .filter((part) => part !== "")
    .join(" ");
}
