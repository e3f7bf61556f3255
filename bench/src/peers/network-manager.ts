import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { until } from "../../../test/dist/lab/index.js";
import { type Ground, type Peer, PrivateFiles } from "../peer.js";
import { findProgram } from "../tools.js";

const BUS = "/run/dbus/system_bus_socket";

/** A bus of its own, on which everybody may do everything. */
const BUS_CONFIG = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=${BUS}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
`;

const CONFIG = `[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
dhcp=internal
no-auto-default=*
configure-and-quit=no
[connectivity]
enabled=false
[logging]
level=WARN
`;

/** NetworkManager, with a table and two static rules for each link. Its bus is not counted. */
export function networkManager(root: string): Peer {
  const program = findProgram(root, "/usr/sbin/NetworkManager");
  const bus = findProgram(root, "/usr/bin/dbus-daemon");
  const env = { LD_LIBRARY_PATH: `${root}/usr/lib/${multiarch()}` };
  return {
    name: "NetworkManager",
    maxLinks: 128,
    followsLinks: true,
    async start(ground, fresh) {
      const files = new PrivateFiles(ground);
      if (fresh) {
        files.reset();
        configure(files, ground);
        files.start("dbus", [bus, "--config-file=/etc/bus.conf", "--nofork", "--nopidfile"]);
        const socket = files.outside(BUS);
        await until(() => existsSync(socket), { timeoutMs: 10_000, what: "the private bus" });
      }
      return [files.startMeasured("NetworkManager", [program, "--no-daemon"], env)];
    },
  };
}

function configure(files: PrivateFiles, { lab }: Ground): void {
  const folder = files.outside("/etc/NetworkManager");
  mkdirSync(`${folder}/system-connections`, { recursive: true });
  mkdirSync(files.outside("/var/lib/NetworkManager"));
  mkdirSync(files.outside("/run/dbus"));
  writeFileSync(files.outside("/etc/bus.conf"), BUS_CONFIG);
  writeFileSync(`${folder}/NetworkManager.conf`, CONFIG);
  for (const { index, numbers } of lab.isps) {
    const table = 10_001 + index;
    const name = lab.linkName(index);
    const lines = [
      "[connection]",
      `id=${name}`,
      `uuid=${randomUUID()}`,
      "type=ethernet",
      `interface-name=${name}`,
      "autoconnect=true",
      "[ipv4]",
      "method=auto",
      `route-table=${table}`,
      `routing-rule1=priority 10000 from ${numbers.net}.0/24 table ${table}`,
      `routing-rule2=priority ${91_001 + index} from 0.0.0.0/0 iif lo table ${table}`,
      "[ipv6]",
      "method=disabled",
    ];
    const file = `${folder}/system-connections/${name}.nmconnection`;
    // It ignores connections that others may read.
    writeFileSync(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  }
}

/** Debian's name of this architecture in library paths. */
function multiarch(): string {
  const names: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };
  return `${names[process.arch] ?? process.arch}-linux-gnu`;
}
