/** What the benchmark needs beside MNM: three small C programs, and the peers themselves. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { resolve } from "node:path";

export const BENCH = resolve(import.meta.dirname, "..");
/** What was built and downloaded; where tools of the JavaScript world keep such things. */
const CACHE = resolve(BENCH, "../node_modules/.cache/mnm-bench");

export interface Tools {
  readonly monitor: string;
  readonly stamp: string;
  readonly subscribers: string;
}

/** Compiles what is older than its source. */
export function compileTools(): Tools {
  mkdirSync(`${CACHE}/bin`, { recursive: true });
  return {
    monitor: compiled("monitor"),
    stamp: compiled("stamp"),
    subscribers: compiled("subscribers"),
  };
}

function compiled(name: string): string {
  const source = `${BENCH}/native/${name}.c`;
  const binary = `${CACHE}/bin/${name}`;
  if (!existsSync(binary) || statSync(binary).mtimeMs < statSync(source).mtimeMs) {
    execFileSync("cc", ["-O2", "-Wall", "-o", binary, source], { stdio: "inherit" });
  }
  return binary;
}

const PACKAGES = ["network-manager", "dhcpcd-base", "udhcpc", "systemd", "dbus-daemon"];

/**
 * The folder with the peers' packages, downloaded and unpacked, but not installed: a NetworkManager
 * that is installed is also started, and would take over the network of the machine that measures.
 * Packages that are installed already are not in it.
 */
export function unpackPeers(): string {
  const root = `${CACHE}/peers`;
  if (existsSync(root)) return root;
  const archives = `${CACHE}/archives`;
  mkdirSync(`${archives}/partial`, { recursive: true });
  console.log("Downloading the peers' Debian packages");
  const options = [`Dir::Cache::archives=${archives}`, "APT::Sandbox::User=root"];
  const set = options.flatMap((option) => ["-o", option]);
  const install = ["install", "-qq", "-y", "--download-only", "--no-install-recommends"];
  execFileSync("apt-get", [...set, ...install, ...PACKAGES], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const unpacking = `${root}.${process.pid}`;
  for (const name of readdirSync(archives).filter((file) => file.endsWith(".deb"))) {
    execFileSync("dpkg", ["-x", `${archives}/${name}`, unpacking]);
  }
  execFileSync("mv", [unpacking, root]);
  return root;
}

/** A program of a peer: as installed, else as unpacked. */
export function findProgram(root: string, ...paths: readonly string[]): string {
  const found = paths.flatMap((path) => [path, `${root}${path}`]).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`There is no ${paths.join(" or ")}`);
  return found;
}
