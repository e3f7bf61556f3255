// Builds dist/deb/mnm_VERSION_ARCH.deb, and prints its path.
//   node scripts/package/deb.mjs [--arch amd64|arm64] [--if-stale] [--output FOLDER]
import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import {
  hostArch,
  put,
  settle,
  sourceDate,
  stageEtc,
  stagePrefix,
  VERSION,
  write,
} from "./stage.mjs";

const MAINTAINER = "MNM maintainers <maintainers@users.noreply.github.com>";
const SCRIPTS = ["postinst", "prerm", "postrm"];
const INPUTS = [
  "dist",
  "docs",
  "examples",
  "scripts",
  "systemd",
  "CHANGELOG.md",
  "package-lock.json",
];

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: hostArch() },
    "if-stale": { type: "boolean", default: false },
    output: { type: "string", default: resolve(import.meta.dirname, "../../dist/deb") },
  },
});
process.umask(0o022);
const output = resolve(values.output);
process.chdir(resolve(import.meta.dirname, "../.."));
const file = join(output, `mnm_${VERSION}_${values.arch}.deb`);
if (!values["if-stale"] || isStale(file)) build(file, values.arch);
console.log(file);

function build(file, arch) {
  mkdirSync(output, { recursive: true });
  // A folder of its own: two may build at once. The result appears whole or not at all.
  const scratch = mkdtempSync(join(output, ".build-"));
  try {
    const root = join(scratch, "root");
    mkdirSync(root);
    stagePrefix(join(root, "usr"), { arch, zshFolder: "share/zsh/vendor-completions" });
    stageEtc(join(root, "etc"));
    debianDocumentation(root);
    stageControl(root, arch);
    settle(root);
    const env = {
      ...process.env,
      SOURCE_DATE_EPOCH: String(sourceDate()),
      DPKG_DEB_THREADS_MAX: "1",
    };
    const args = ["--root-owner-group", "-Zxz", "--build", root, join(scratch, "mnm.deb")];
    execFileSync("dpkg-deb", args, { env, stdio: ["ignore", "ignore", "inherit"] });
    renameSync(join(scratch, "mnm.deb"), file);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What Debian wants compressed, and its own changelog (Debian policy 12.1, 12.7). */
function debianDocumentation(root) {
  const documentation = join(root, "usr/share/doc/mnm");
  put("scripts/package/debian/copyright", join(documentation, "copyright"));
  const overrides = join(root, "usr/share/lintian/overrides/mnm");
  put("scripts/package/debian/lintian-overrides", overrides);
  const when = new Date(sourceDate() * 1000).toUTCString().replace("GMT", "+0000");
  write(
    join(documentation, "changelog"),
    `mnm (${VERSION}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- ${MAINTAINER}  ${when}\n`,
  );
  for (const name of ["changelog", "CHANGELOG.md", "THIRD-PARTY-LICENSES", "sbom.cdx.json"]) {
    compress(join(documentation, name));
  }
  for (const page of filesBelow(join(root, "usr/share/man"))) compress(page);
}

function compress(file) {
  write(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
  rmSync(file);
}

function stageControl(root, arch) {
  const debian = join(root, "DEBIAN");
  const installed = filesBelow(root).filter((path) => !lstatSync(path).isSymbolicLink());
  const kilobytes = installed.reduce((sum, path) => sum + Math.ceil(statSync(path).size / 1024), 0);
  const control = readFileSync("scripts/package/debian/control", "utf8")
    .replace("@VERSION@", VERSION)
    .replace("@ARCH@", arch)
    .replace("@MAINTAINER@", MAINTAINER)
    .replace("@SIZE@", String(kilobytes));
  write(join(debian, "control"), control);
  put("scripts/package/debian/triggers", join(debian, "triggers"));
  const conffiles = filesBelow(join(root, "etc")).map((path) => path.slice(root.length));
  write(join(debian, "conffiles"), `${conffiles.join("\n")}\n`);
  const purge = readFileSync("scripts/package/purge-owned.pl", "utf8").trimEnd();
  for (const name of SCRIPTS) {
    const text = readFileSync(`scripts/package/debian/${name}`, "utf8");
    write(
      join(debian, name),
      text.replace("@PURGE_OWNED@", () => purge),
      0o755,
    );
  }
  write(join(debian, "md5sums"), checksums(root, installed));
}

function checksums(root, files) {
  const relative = files
    .map((path) => path.slice(root.length + 1))
    .filter((path) => path.startsWith("usr/"));
  return execFileSync("md5sum", relative.toSorted(), { cwd: root, encoding: "utf8" });
}

/** Files and symbolic links below a folder, sorted. */
function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .toSorted();
}

function isStale(deb) {
  if (!existsSync(deb)) return true;
  const built = statSync(deb).mtimeMs;
  const files = INPUTS.flatMap((input) =>
    statSync(input).isDirectory() ? sourcesBelow(input) : [input],
  );
  return files.some((input) => statSync(input).mtimeMs > built);
}

/** Below dist/ only the bundles: packages, and caches, come from them. */
function sourcesBelow(folder) {
  if (folder === "dist")
    return readdirSync(folder)
      .filter((name) => /bundle\.js$|^modules\.json$|^mnm-helper$/.test(name))
      .map((name) => join(folder, name));
  return filesBelow(folder).filter((path) => !path.includes("/dist/"));
}
