// Lays out what is installed, below a prefix: the same tree for the Debian package and the tarball.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { filesBeside, shippedPackages } from "./modules.mjs";
import { licenceTexts, softwareBill } from "./notices.mjs";

export const { version: VERSION } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
);

const PROGRAMS = ["mnm-helper", "mnm-controller", "mnmctl"];

/**
 * Seconds since 1970 that every file of a package gets, so that two builds of one commit are equal
 * (reproducible-builds.org/specs/source-date-epoch).
 */
export function sourceDate() {
  const { SOURCE_DATE_EPOCH: given } = process.env;
  if (given !== undefined && given !== "") return Number(given);
  try {
    const args = ["log", "-1", "--format=%ct"];
    return Number(
      execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
  } catch {
    // Not a checkout: what is unpacked from an archive keeps its dates.
    return Math.floor(statSync("package.json").mtimeMs / 1000);
  }
}

/** Debian's name of this machine's architecture. */
export function hostArch() {
  const names = { x64: "amd64", arm64: "arm64" };
  const name = names[process.arch];
  if (name === undefined) throw new Error(`There are no packages for ${process.arch}`);
  return name;
}

/** Fills `prefix`, which is /usr of the package or a folder of the tarball. */
export function stagePrefix(prefix, { arch, zshFolder }) {
  const lib = join(prefix, "lib/mnm");
  for (const name of PROGRAMS) {
    put(`dist/${name}.bundle.js`, join(lib, `${name}.bundle.js`));
    const launcher = readFileSync(`dist/${name}.js`, "utf8");
    // The Node of the units, not the first in somebody's PATH.
    write(join(lib, `${name}.js`), launcher.replace("/usr/bin/env node", "/usr/bin/node"), 0o755);
    const folder = join(prefix, name === "mnmctl" ? "bin" : "sbin");
    mkdirSync(folder, { recursive: true });
    const command = name === "mnm-helper" ? name : `${name}.js`;
    symlinkSync(`../lib/mnm/${command}`, join(folder, name));
  }
  const helperLauncher = readFileSync("dist/mnm-helper", "utf8");
  const withNode = helperLauncher.replace(/^node=.*$/m, "node=/usr/bin/node");
  write(join(lib, "mnm-helper"), withNode, 0o755);
  put("dist/package.json", join(lib, "package.json"));
  put("dist/write-code-cache", join(lib, "write-code-cache"), 0o755);
  put("scripts/package/restart-keeping-uplinks", join(lib, "restart-keeping-uplinks"), 0o755);
  for (const { from, to } of filesBeside(arch)) put(from, join(lib, to));

  for (const unit of readdirSync("systemd").filter((name) =>
    /\.(service|socket|target)$/.test(name),
  )) {
    put(`systemd/${unit}`, join(prefix, "lib/systemd/system", unit));
  }
  for (const folder of ["sysusers.d", "tmpfiles.d"]) {
    put(`systemd/${folder}/mnm.conf`, join(prefix, "lib", folder, "mnm.conf"));
  }
  put("systemd/networkd.conf.d/mnm.conf", join(prefix, "lib/systemd/networkd.conf.d/mnm.conf"));
  for (const page of readdirSync("docs/man")) {
    put(`docs/man/${page}`, join(prefix, "share/man", `man${page.at(-1)}`, page));
  }
  stageCompletion(prefix, zshFolder);
  stageDocumentation(join(prefix, "share/doc/mnm"), arch);
}

/** What the administrator may change. */
export function stageEtc(etc) {
  put("scripts/package/mnm.yaml", join(etc, "mnm/mnm.yaml"));
  put("systemd/rt_protos.d/mnm.conf", join(etc, "iproute2/rt_protos.d/mnm.conf"));
}

function stageCompletion(prefix, zshFolder) {
  const places = {
    bash: "share/bash-completion/completions/mnmctl",
    zsh: `${zshFolder}/_mnmctl`,
    fish: "share/fish/vendor_completions.d/mnmctl.fish",
  };
  for (const [shell, place] of Object.entries(places)) {
    const args = ["dist/mnmctl.js", "completion", shell];
    write(join(prefix, place), execFileSync(process.execPath, args, { encoding: "utf8" }));
  }
}

function stageDocumentation(folder, arch) {
  for (const file of ["docs/operations.md", "docs/json.md", "CHANGELOG.md"]) {
    put(file, join(folder, file.split("/").at(-1)));
  }
  for (const name of readdirSync("examples").filter((file) =>
    /\.(yaml|sh|mjs)$|^helper/.test(file),
  )) {
    put(`examples/${name}`, join(folder, "examples", name), name.endsWith(".sh") ? 0o755 : 0o644);
  }
  for (const name of readdirSync("examples/other-managers")) {
    put(`examples/other-managers/${name}`, join(folder, "examples/other-managers", name));
  }
  const packages = shippedPackages(arch);
  write(join(folder, "THIRD-PARTY-LICENSES"), licenceTexts(packages));
  const bill = softwareBill(packages, { version: VERSION, date: new Date(sourceDate() * 1000) });
  write(join(folder, "sbom.cdx.json"), bill);
}

/** Copies a file with this mode and never another. */
export function put(from, to, mode = 0o644) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
  chmodSync(to, mode);
}

export function write(file, content, mode = 0o644) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

/** Gives everything below `root`, and itself, the mode of its kind and one date. */
export function settle(root) {
  for (const entry of readdirSync(root, { withFileTypes: true })) {
    const path = join(root, entry.name);
    if (entry.isDirectory()) settle(path);
    else lutimesSync(path, sourceDate(), sourceDate());
  }
  chmodSync(root, 0o755);
  lutimesSync(root, sourceDate(), sourceDate());
}
