/** DHCP clients that reach one table for each uplink with a script of their user, and MULTI. */
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { type Peer, PrivateFiles } from "../peer.js";
import { BENCH, findProgram } from "../tools.js";

/** dhcpcd without its ARP probe and random delay, which would cost it 5 s; our hook instead of its. */
export function dhcpcd(root: string): Peer {
  const program = findProgram(root, "/usr/sbin/dhcpcd", "/sbin/dhcpcd");
  const hook = `${BENCH}/scripts/dhcpcd-hook.sh`;
  const config = "ipv4only\nallowinterfaces wan*\nnoarp\nnodelay\n";
  return {
    name: "dhcpcd",
    maxLinks: 128,
    followsLinks: true,
    async start(ground, fresh) {
      const files = new PrivateFiles(ground);
      if (fresh) {
        files.reset();
        mkdirSync(files.outside("/var/lib/dhcpcd"));
        mkdirSync(files.outside("/run/dhcpcd-home"));
        // As its package does: the user whose processes parse what strangers send.
        const user = "dhcpcd:x:64999:65534::/run/dhcpcd-home:/bin/false\n";
        appendFileSync(files.outside("/etc/passwd"), user);
        writeFileSync(files.outside("/etc/dhcpcd.conf"), config);
      }
      // --nodev: no udev runs here, and it would wait for it.
      const args = ["-B", "--nodev", "-f", "/etc/dhcpcd.conf", "-c", hook];
      return [files.startMeasured("dhcpcd", [program, ...args])];
    },
  };
}

/** udhcpc, one process for each link; it neither sees new links nor carriers. */
export function udhcpc(root: string): Peer {
  const program = findProgram(root, "/usr/bin/busybox", "/bin/busybox");
  const script = `${BENCH}/scripts/udhcpc-script.sh`;
  return {
    name: "udhcpc",
    maxLinks: 128,
    followsLinks: false,
    async start(ground, fresh) {
      const files = new PrivateFiles(ground);
      if (fresh) files.reset();
      const each = `"$1" udhcpc -f -i "$link" -s ${script} &`;
      const loop = `for link in ${ground.lab.isps.map(({ index }) => ground.lab.linkName(index)).join(" ")}
        do ${each} done; wait`;
      return [files.startMeasured("udhcpc", ["sh", "-c", loop, "sh", program])];
    },
  };
}

/** MULTI, built by whoever measures: its Makefile needs CC="gcc -fcommon" today. */
export function multi(binary: string): Peer {
  return {
    name: "multi",
    // MAX_NUM_LINKS.
    maxLinks: 32,
    followsLinks: true,
    async start(ground, fresh) {
      const files = new PrivateFiles(ground);
      if (fresh) files.reset();
      return [files.startMeasured("multi", [binary])];
    },
  };
}
