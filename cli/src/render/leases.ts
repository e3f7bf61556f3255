import type { Link } from "@mnm/proto/network-manager";
import { formatSeconds } from "./duration.js";
import { type Column, type Line, tableOf } from "./page.js";

const TITLES = [
  "LINK",
  "ADDRESS",
  "SERVER",
  "GATEWAY",
  "STATE",
  "RENEWS",
  "REBINDS",
  "ENDS",
  "DNS",
];
const COLUMNS: readonly Column[] = TITLES.map((title) => ({ title, align: "left" }));

/** What `mnmctl leases` shows; only its titles when there is no lease. */
export function leasesPage(links: readonly Link[]): readonly Line[] {
  const rows = links.flatMap(({ name, lease, dhcp }) =>
    lease === undefined
      ? []
      : [
          [
            name,
            lease.address,
            lease.server,
            lease.gateways[0] ?? "-",
            dhcp === undefined ? "-" : dhcp.state,
            inTime(lease.t1InSec),
            inTime(lease.t2InSec),
            inTime(lease.expiresInSec),
            lease.dnsServers.length === 0 ? "-" : lease.dnsServers.join(" "),
          ],
        ],
  );
  return tableOf(COLUMNS, rows);
}

function inTime(seconds: number | undefined): string {
  return seconds === undefined ? "never" : formatSeconds(seconds);
}
