import type { Ipv4, Ipv4Prefix, PrefixLength } from "@mnm/proto/net";
import type { LinkRef, LinkSettings } from "../link/index.js";
import type { WantedAddress, WantedRoute, WantedRule } from "../plan/index.js";
import type { RouteType } from "./snapshot.js";

/** One change to the kernel, in the terms of the helper's contract. */
export type Operation =
  | {
      readonly kind: "put-settings";
      readonly link: LinkRef;
      /** Sets the link admin up. */
      readonly up: boolean;
      readonly settings: Partial<LinkSettings>;
    }
  | { readonly kind: "put-address"; readonly link: LinkRef; readonly address: WantedAddress }
  | {
      readonly kind: "delete-address";
      readonly link: LinkRef;
      readonly address: Ipv4;
      readonly length: PrefixLength;
    }
  | { readonly kind: "put-route"; readonly link: LinkRef; readonly route: WantedRoute }
  | {
      readonly kind: "delete-route";
      /** Undefined for one that has no link in the kernel: unreachable, blackhole and throw. */
      readonly link: LinkRef | undefined;
      readonly type: Exclude<RouteType, "other">;
      readonly route: RouteIdentity;
    }
  | {
      readonly kind: "put-rule";
      readonly link: LinkRef | undefined;
      readonly rule: WantedRule;
    }
  | { readonly kind: "delete-rule"; readonly link: undefined; readonly rule: WantedRule };

/** What the kernel tells IPv4 routes apart by; our type of service is always 0. */
export interface RouteIdentity {
  readonly table: number;
  readonly destination: Ipv4Prefix;
  readonly metric: number;
}
