import type { Config, ConflictDetection, LinkEntry } from "@mnm/controller/config";
import { formatIpv4 } from "@mnm/proto/net";
import type { Line } from "./page.js";

/** A good configuration in other words, so that its author sees what MNM makes of it. */
export function checkPage(file: string, config: Config): readonly Line[] {
  const width = Math.max(11, ...config.links.map(({ label }) => label.length));
  const others =
    config.defaultMode === "manage"
      ? "wired, WLAN and mobile links by DHCP, PPP adopted, others left alone"
      : "left alone";
  return [
    [`${file}: no problems`],
    ...config.links.map((entry): Line => [`  ${entry.label.padEnd(width)}  ${planOf(entry)}`]),
    [`  ${"other links".padEnd(width)}  ${others}`],
    [`  ${"on stop".padEnd(width)}  ${STOPS[config.onStop]}`],
    ...(config.legacyBroadcast
      ? [[`  ${"broadcast".padEnd(width)}  programs made for MULTI are told of uplinks`]]
      : []),
    ...(config.unique ? [[`  ${"unique".padEnd(width)}  no address is used twice`]] : []),
  ];
}

const STOPS: Readonly<Record<Config["onStop"], string>> = {
  keep: "everything stays in the kernel",
  flush: "what MNM has put into the kernel is withdrawn",
  release: "what MNM has put into the kernel is withdrawn, and leases are released",
};

const DETECTIONS: Readonly<Record<ConflictDetection, string>> = {
  optimistic: "",
  strict: " with each address probed before it is used",
  off: " without conflict detection",
};

function planOf(entry: LinkEntry): string {
  if (entry.mode === "ignore") return "left alone";
  const metric = entry.metric === undefined ? "automatic metric" : `metric ${entry.metric}`;
  return [matchOf(entry), methodOf(entry), metric].filter((part) => part !== "").join(", ");
}

function matchOf({ match }: LinkEntry): string {
  switch (match.kind) {
    case "name":
      return "";
    case "pattern":
      return "every link of that pattern";
    case "path":
      return `the link at ${match.path}`;
    case "mac":
      return `the link with MAC ${match.mac}`;
  }
}

function methodOf({ label, method, methodWritten }: LinkEntry): string {
  switch (method.kind) {
    case "dhcp":
      // Only the kernel knows what is PPP, but pppd's names are a good hint.
      return !methodWritten && label.startsWith("ppp")
        ? "adopted if it is PPP, else DHCP"
        : `DHCP${DETECTIONS[method.conflictDetection]}`;
    case "static": {
      const address = `${formatIpv4(method.address)}/${method.prefixLength}`;
      const gateway =
        method.gateway === undefined ? "no gateway" : `via ${formatIpv4(method.gateway)}`;
      return `static ${address}, ${gateway}`;
    }
    case "adopt":
      return "another program's address";
  }
}
