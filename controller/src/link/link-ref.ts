import type { Ifindex, LinkName, MacAddress } from "@mnm/proto/net";
import type { Link } from "./link.js";

/**
 * A link as the helper wants it named: three ways, because an ifindex alone may have been reused
 * by the time a write is performed.
 */
export interface LinkRef {
  readonly ifindex: Ifindex;
  readonly name: LinkName;
  readonly mac: MacAddress | undefined;
}

export function linkRefOf({ ifindex, name, mac }: Link): LinkRef {
  return { ifindex, name, mac };
}
