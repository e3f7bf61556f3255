// Which parts of node_modules a package carries, and whose they are.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

/** Node's and npm's names of what Debian calls amd64 and arm64. */
export const NODE_ARCH = { amd64: "x64", arm64: "arm64" };

/**
 * Files to put beside the bundles: what the programs reach there, each package's package.json, what
 * esbuild cannot see, and the native parts for one architecture.
 * @returns {{ from: string, to: string }[]} `to` begins with node_modules/
 */
export function filesBeside(arch) {
  const node = NODE_ARCH[arch];
  const { beside } = JSON.parse(readFileSync("dist/modules.json", "utf8"));
  const manifests = folders(beside).map((folder) => `${folder}/package.json`);
  const reflection = "node_modules/@grpc/reflection/build/proto/grpc/reflection";
  const koffi = `node_modules/@koromix/koffi-linux-${node}`;
  const files = [
    ...beside.filter((file) => !file.startsWith("node_modules/@koromix/")),
    ...manifests,
    // Read at run time, by their place.
    `${reflection}/v1/reflection.proto`,
    `${reflection}/v1alpha/reflection.proto`,
    `node_modules/netlink/prebuilds/linux-${node}/node.napi.node`,
  ];
  const native = nativeKoffi(koffi);
  return [
    ...files.map((file) => ({ from: file, to: file })),
    ...["index.js", "package.json", `linux_${node}/koffi.node`].map((file) => ({
      from: join(native, file),
      to: `${koffi}/${file}`,
    })),
  ].toSorted((a, b) => (a.to < b.to ? -1 : 1));
}

/**
 * The npm packages that are inside the bundles or beside them.
 * @returns {{ folder: string, name: string, version: string }[]} folder: where its licence is
 */
export function shippedPackages(arch) {
  const { bundled, beside } = JSON.parse(readFileSync("dist/modules.json", "utf8"));
  const native = `node_modules/@koromix/koffi-linux-${NODE_ARCH[arch]}`;
  const reached = folders([...bundled, ...beside]).filter((path) => !path.includes("/@koromix/"));
  return [...reached, native].toSorted().map((place) => {
    const folder = place === native ? nativeKoffi(native) : place;
    const { name, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    return { folder, name, version };
  });
}

/** node_modules/a/node_modules/@b/c of each file, once. */
function folders(files) {
  const pattern = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//;
  return [...new Set(files.map((file) => pattern.exec(file)[1]))];
}

/** npm installs the part for its own architecture only; another one is fetched, and checked. */
function nativeKoffi(place) {
  if (existsSync(place)) return place;
  const folder = join("dist", place);
  if (existsSync(folder)) return folder;
  const { version, integrity } = JSON.parse(readFileSync("package-lock.json", "utf8")).packages[
    place
  ];
  const scratch = mkdtempSync("dist/fetch-");
  try {
    const spec = `${place.slice("node_modules/".length)}@${version}`;
    const args = ["pack", spec, "--pack-destination", scratch, "--loglevel=error"];
    const file = join(scratch, execFileSync("npm", args, { encoding: "utf8" }).trim());
    const found = `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}`;
    if (found !== integrity)
      throw new Error(`${spec} is not what package-lock.json says: ${found}`);
    mkdirSync(folder, { recursive: true });
    execFileSync("tar", ["xzf", file, "-C", folder, "--strip-components=1"]);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return folder;
}
