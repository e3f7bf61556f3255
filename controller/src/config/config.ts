import type { Ipv4, LinkName, MacAddress, PrefixLength } from "@mnm/proto/net";

/** What the operator wants, checked. The same for MNM's own format and for MULTI's. */
export interface Config {
  /** In the order of the file. */
  readonly links: readonly LinkEntry[];
  /** What happens to links that no entry names and that the default filter would select. */
  readonly defaultMode: "manage" | "ignore";
  /** Never use an address twice: the later one is declined. */
  readonly unique: boolean;
  /** What a stopping controller does with what it has put into the kernel. */
  readonly onStop: "keep" | "flush" | "release";
  /** MULTI's subscribers are told of uplinks as well. */
  readonly legacyBroadcast: boolean;
}

/** One entry under `links`. */
export interface LinkEntry {
  /** The key as written; unique in the file. */
  readonly label: string;
  readonly match: LinkMatch;
  readonly mode: "manage" | "observe" | "ignore";
  readonly method: LinkMethod;
  /** False when `method` is only DHCP by default: the address of a PPP link is then adopted. */
  readonly methodWritten: boolean;
  /** 1 to 9999, not shared with another entry; undefined for an automatic one. */
  readonly metric: number | undefined;
}

/** Which links an entry is about. */
export type LinkMatch =
  | { readonly kind: "name"; readonly name: LinkName }
  /** `*` stands for any characters, `?` for one. */
  | { readonly kind: "pattern"; readonly pattern: string }
  /** IFLA_PARENT_DEV_NAME as the kernel gives it, or `usb-0:PORTS`, whatever the bus. */
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "mac"; readonly mac: MacAddress };

/**
 * When ARP asks whether somebody else has a leased address: while it is in use already, before it
 * is used (RFC 5227 §2.1), or never.
 */
export type ConflictDetection = "optimistic" | "strict" | "off";

/** Where a link's address comes from. */
export type LinkMethod =
  | {
      readonly kind: "dhcp";
      readonly hostName: string | undefined;
      readonly clientId: Uint8Array | undefined;
      readonly vendorClass: string | undefined;
      readonly rapidCommit: boolean;
      readonly conflictDetection: ConflictDetection;
    }
  | {
      readonly kind: "static";
      readonly address: Ipv4;
      readonly prefixLength: PrefixLength;
      readonly gateway: Ipv4 | undefined;
    }
  /** PPP and the like: the address is another program's. */
  | { readonly kind: "adopt" };

/** DHCP with nothing said about it. */
export const PLAIN_DHCP: LinkMethod = {
  kind: "dhcp",
  hostName: undefined,
  clientId: undefined,
  vendorClass: undefined,
  rapidCommit: false,
  conflictDetection: "optimistic",
};

/** What is in force without a file, and where a file is silent. */
export const DEFAULT_CONFIG: Config = {
  links: [],
  defaultMode: "manage",
  unique: false,
  onStop: "keep",
  legacyBroadcast: false,
};
