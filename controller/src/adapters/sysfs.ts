import { readFileSync } from "node:fs";
import { type Ifindex, type LinkName, parseLinkName } from "@mnm/proto/net";
import type { DeviceTypeOf } from "./kernel-decode.js";

/**
 * DEVTYPE of links, read from sysfs and remembered, because netlink does not tell a WLAN card or a
 * modem from a wired one.
 *
 * The sysfs that is mounted may belong to another network namespace than ours, where the same name
 * is another link: its IFINDEX has to agree, and without agreement there is no device type. (It
 * could still be wrong if that agrees by chance; what hangs on it is a default metric.)
 */
export class DeviceTypes {
  readonly #directory: string;
  readonly #known = new Map<Ifindex, { name: LinkName; deviceType: string | undefined }>();

  constructor(directory = "/sys/class/net") {
    this.#directory = directory;
  }

  /** `wlan`, `wwan`, `bridge` …; undefined for plain Ethernet and for what sysfs does not know. */
  readonly of: DeviceTypeOf = (ifindex, name) => {
    const known = this.#known.get(ifindex);
    if (known?.name === name) return known.deviceType;
    const deviceType = this.#read(ifindex, name);
    this.#known.set(ifindex, { name, deviceType });
    return deviceType;
  };

  /** For when the link is gone: the number and the name may come back as another device. */
  forget(ifindex: Ifindex): void {
    this.#known.delete(ifindex);
  }

  #read(ifindex: Ifindex, name: LinkName): string | undefined {
    // The name becomes part of a path, so it is checked although the kernel does that as well.
    if (!parseLinkName(name).ok) return undefined;
    const uevent = contentOf(`${this.#directory}/${name}/uevent`);
    const values = new Map(
      uevent.split("\n").map((line): [string, string] => {
        const [key = "", value = ""] = line.split("=", 2);
        return [key, value];
      }),
    );
    return values.get("IFINDEX") === String(ifindex) ? values.get("DEVTYPE") : undefined;
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Gone already, renamed, or no sysfs here: all of them mean that nothing is known.
    return "";
  }
}
