import { mkdirSync, writeFileSync } from "node:fs";
import { type Ground, type Peer, PrivateFiles } from "../peer.js";
import { findProgram } from "../tools.js";

/** systemd-networkd, with a table and two static rules for each link. */
export function networkd(root: string): Peer {
  const program = findProgram(
    root,
    "/usr/lib/systemd/systemd-networkd",
    "/lib/systemd/systemd-networkd",
  );
  return {
    name: "networkd",
    maxLinks: 128,
    followsLinks: true,
    // RestartKillSignal= of its unit: with SIGTERM it would remove everything.
    restartSignal: "SIGUSR2",
    async start(ground, fresh) {
      const files = new PrivateFiles(ground);
      if (fresh) {
        files.reset();
        configure(files, ground);
      }
      return [files.startMeasured("networkd", [program])];
    },
  };
}

function configure(files: PrivateFiles, { lab }: Ground): void {
  const folder = files.outside("/etc/systemd/network");
  mkdirSync(folder, { recursive: true });
  mkdirSync(files.outside("/run/systemd"));
  for (const { index, numbers } of lab.isps) {
    const table = 10_001 + index;
    const lines = [
      "[Match]",
      `Name=${lab.linkName(index)}`,
      "[Network]",
      "DHCP=ipv4",
      "LinkLocalAddressing=no",
      "IPv6AcceptRA=no",
      "[DHCPv4]",
      `RouteTable=${table}`,
      "[RoutingPolicyRule]",
      "Priority=10000",
      // Its rules are fixed text: they can name the prefix, which has to be known, not the lease.
      `From=${numbers.net}.0/24`,
      `Table=${table}`,
      "[RoutingPolicyRule]",
      `Priority=${91_001 + index}`,
      "IncomingInterface=lo",
      `Table=${table}`,
    ];
    writeFileSync(`${folder}/10-${lab.linkName(index)}.network`, `${lines.join("\n")}\n`);
  }
}
