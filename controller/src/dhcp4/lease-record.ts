/**
 * A lease as the lease store keeps it: plain data for JSON, read back with suspicion.
 *
 * It holds when the lease was acquired by both clocks. Its expiry by either is that and
 * `leaseSec`, so there is no second number that could contradict. Within the same boot only the
 * boot clock counts: wall time may have been set. After another boot the wall clock is all there
 * is; one that says "before the lease was acquired" is wrong, and the lease then gets the benefit
 * of the doubt, because a server is asked before the address is used.
 */
import {
  after,
  err,
  formatIpv4,
  formatIpv4Prefix,
  type Instant,
  type Ipv4,
  instantFromMs,
  isHostUnicast,
  ok,
  type PrefixLength,
  parseIpv4,
  parseIpv4Prefix,
  prefixLengthFromNumber,
  type Result,
} from "@mnm/proto/net";
import {
  INFINITE_SEC,
  isExpired,
  type Lease,
  type LeaseRoute,
  type LeaseTerms,
  leaseOfTerms,
  MIN_LEASE_SEC,
} from "./lease.js";
import { isUsableGateway, isUsableRoute, type OwnAddress } from "./routes.js";
import { addressProblem, isBroadcastOf, isUsableMtu } from "./terms.js";
import { isDomainName, isHttpsUrl } from "./text.js";

const VERSION = 1;

/** The clocks at the time of writing or reading. */
export interface RecordClock {
  readonly now: Instant;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
  /** Names this boot of the host: `/proc/sys/kernel/random/boot_id`. */
  readonly bootId: string;
}

/** What is undefined is left out of the JSON text. */
export interface LeaseRecord {
  readonly version: typeof VERSION;
  readonly bootId: string;
  readonly acquiredBootMs: number;
  readonly acquiredWallMs: number;
  /** The address was probed, and nobody else had it. */
  readonly claimed?: true;
  readonly terms: TermsRecord;
}

interface TermsRecord {
  readonly address: string;
  readonly prefixLength: number;
  readonly serverId: string;
  readonly gateways: readonly string[];
  readonly routes: readonly { readonly destination: string; readonly gateway?: string }[];
  readonly dnsServers: readonly string[];
  readonly ntpServers: readonly string[];
  readonly domain: string | undefined;
  readonly hostName: string | undefined;
  readonly captivePortal: string | undefined;
  readonly searchDomains: readonly string[];
  readonly broadcast: string | undefined;
  readonly mtu: number | undefined;
  readonly leaseSec: number;
  readonly t1Sec: number | undefined;
  readonly t2Sec: number | undefined;
}

export type LeaseRecordError =
  | { readonly code: "malformed"; readonly field: string }
  | { readonly code: "unknown-version"; readonly version: number }
  /** Its address may still be asked for. */
  | { readonly code: "expired"; readonly lease: Lease };

export function encodeLeaseRecord(
  lease: Lease,
  clock: RecordClock,
  isClaimed = false,
): LeaseRecord {
  const { terms, acquiredAt } = lease;
  return {
    version: VERSION,
    bootId: clock.bootId,
    acquiredBootMs: acquiredAt,
    acquiredWallMs: clock.wallMs - (clock.now - acquiredAt),
    ...(isClaimed ? { claimed: true } : {}),
    terms: {
      ...terms,
      address: formatIpv4(terms.address),
      serverId: formatIpv4(terms.serverId),
      gateways: terms.gateways.map(formatIpv4),
      routes: terms.routes.map(({ destination, gateway }) => ({
        destination: formatIpv4Prefix(destination),
        ...(gateway === undefined ? {} : { gateway: formatIpv4(gateway) }),
      })),
      dnsServers: terms.dnsServers.map(formatIpv4),
      ntpServers: terms.ntpServers.map(formatIpv4),
      broadcast: terms.broadcast === undefined ? undefined : formatIpv4(terms.broadcast),
    },
  };
}

/** Reads a record back. Any value at all may be given; a lease that comes back can be used. */
export function decodeLeaseRecord(
  value: unknown,
  clock: RecordClock,
): Result<Lease, LeaseRecordError> {
  const record = new RecordReader(value);
  const version = record.number("version");
  if (version !== undefined && version !== VERSION)
    return err({ code: "unknown-version", version });
  const bootId = record.text("bootId");
  const bootMs = record.number("acquiredBootMs");
  const wallMs = record.number("acquiredWallMs");
  const terms = readTerms(record.child("terms"));
  if (version === undefined) return malformed("version");
  if (bootId === undefined) return malformed("bootId");
  if (wallMs === undefined) return malformed("acquiredWallMs");
  const isSameBoot = bootId === clock.bootId;
  if (bootMs === undefined || (isSameBoot && bootMs > clock.now))
    return malformed("acquiredBootMs");
  if (!terms.ok) return terms;

  const acquiredAt = isSameBoot
    ? instantFromMs(bootMs)
    : after(clock.now, -Math.max(0, clock.wallMs - wallMs));
  const lease = leaseOfTerms(terms.value, acquiredAt);
  return isExpired(lease, clock.now) ? err({ code: "expired", lease }) : ok(lease);
}

/** Whether the record, of any value at all, says that its address was claimed. */
export function isClaimedRecord(value: unknown): boolean {
  return new RecordReader(value).is("claimed");
}

function malformed(field: string): Result<never, LeaseRecordError> {
  return err({ code: "malformed", field });
}

/**
 * The file is ours, but it may be damaged, or old, or edited. So its values pass the checks that
 * values off the wire pass; what a lease can do without is left out when it does not.
 */
function readTerms(record: RecordReader): Result<LeaseTerms, LeaseRecordError> {
  const address = record.address("address");
  const prefixLength = record.prefixLength("prefixLength");
  const serverId = record.address("serverId");
  const leaseSec = record.number("leaseSec");
  if (address === undefined) return malformed("address");
  if (prefixLength === undefined) return malformed("prefixLength");
  if (serverId === undefined || !isHostUnicast(serverId)) return malformed("serverId");
  if (addressProblem(address, prefixLength, serverId) !== undefined) return malformed("address");
  if (leaseSec === undefined || leaseSec < MIN_LEASE_SEC || leaseSec > INFINITE_SEC) {
    return malformed("leaseSec");
  }
  const mtu = record.number("mtu");
  const broadcast = record.address("broadcast");
  const own = { address, prefixLength };
  const isOwnBroadcast = broadcast !== undefined && isBroadcastOf(broadcast, address, prefixLength);
  return ok({
    address,
    prefixLength,
    serverId,
    gateways: record.addresses("gateways").filter((gateway) => isUsableGateway(gateway, own)),
    routes: record.list("routes").flatMap((value) => routeOf(value, own)),
    dnsServers: record.addresses("dnsServers").filter(isHostUnicast),
    ntpServers: record.addresses("ntpServers").filter(isHostUnicast),
    domain: record.checkedText("domain", isDomainName),
    hostName: record.checkedText("hostName", isDomainName),
    captivePortal: record.checkedText("captivePortal", isHttpsUrl),
    searchDomains: record.list("searchDomains").filter(isDomainNameText),
    broadcast: isOwnBroadcast ? broadcast : undefined,
    mtu: mtu !== undefined && isUsableMtu(mtu) ? mtu : undefined,
    leaseSec,
    t1Sec: record.number("t1Sec"),
    t2Sec: record.number("t2Sec"),
  });
}

function routeOf(value: unknown, own: OwnAddress): readonly LeaseRoute[] {
  const record = new RecordReader(value);
  const destination = parseIpv4Prefix(record.text("destination") ?? "");
  const gateway = record.address("gateway");
  // Without the gateway that it had, a route would be on the link: another route.
  const isDamaged = gateway === undefined && record.has("gateway");
  if (!destination.ok || isDamaged) return [];
  const route = { destination: destination.value, gateway };
  return isUsableRoute(route, own) ? [route] : [];
}

function isDomainNameText(value: unknown): value is string {
  return typeof value === "string" && isDomainName(value);
}

/** Fields of what may be an object. Only its own: a name such as `constructor` finds nothing. */
class RecordReader {
  readonly #fields: ReadonlyMap<string, unknown>;

  constructor(value: unknown) {
    const isRecord = typeof value === "object" && value !== null;
    this.#fields = new Map(isRecord ? Object.entries(value) : []);
  }

  child(field: string): RecordReader {
    return new RecordReader(this.#fields.get(field));
  }

  has(field: string): boolean {
    return this.#fields.has(field);
  }

  /** Whether it is there and true. */
  is(field: string): boolean {
    return this.#fields.get(field) === true;
  }

  list(field: string): readonly unknown[] {
    const value = this.#fields.get(field);
    return Array.isArray(value) ? value : [];
  }

  text(field: string): string | undefined {
    const value = this.#fields.get(field);
    return typeof value === "string" ? value : undefined;
  }

  checkedText(field: string, isValid: (text: string) => boolean): string | undefined {
    const text = this.text(field);
    return text !== undefined && isValid(text) ? text : undefined;
  }

  /** Seconds and milliseconds are whole ones here, and protobuf throws at others. */
  number(field: string): number | undefined {
    const value = this.#fields.get(field);
    return typeof value === "number" && Number.isSafeInteger(value) ? value : undefined;
  }

  prefixLength(field: string): PrefixLength | undefined {
    return prefixLengthFromNumber(this.number(field) ?? -1);
  }

  address(field: string): Ipv4 | undefined {
    return addressOf(this.#fields.get(field));
  }

  addresses(field: string): readonly Ipv4[] {
    return this.list(field).flatMap((value) => addressOf(value) ?? []);
  }
}

function addressOf(value: unknown): Ipv4 | undefined {
  const address = typeof value === "string" ? parseIpv4(value) : undefined;
  return address?.ok ? address.value : undefined;
}
