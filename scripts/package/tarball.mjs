// Builds dist/mnm-VERSION-ARCH.tar.gz, and prints its path.
//   node scripts/package/tarball.mjs [--arch amd64|arm64] [--output FOLDER]
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { NODE_ARCH } from "./modules.mjs";
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

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: hostArch() },
    output: { type: "string", default: resolve(import.meta.dirname, "../../dist") },
  },
});
process.umask(0o022);
const output = resolve(values.output);
process.chdir(resolve(import.meta.dirname, "../.."));
mkdirSync(output, { recursive: true });
const name = `mnm-${VERSION}-${values.arch}`;
const scratch = mkdtempSync(join(output, ".build-"));
try {
  const root = join(scratch, name);
  const arch = values.arch;
  stagePrefix(join(root, "prefix"), { arch, zshFolder: "share/zsh/site-functions" });
  stageEtc(join(root, "etc"));
  put("scripts/package/install.sh", join(root, "install.sh"), 0o755);
  put("scripts/package/purge-owned.pl", join(root, "purge-owned.pl"));
  put("LICENSE", join(root, "LICENSE"));
  write(join(root, "arch"), `${NODE_ARCH[arch]}\n`);
  settle(root);
  const owner = ["--owner=0", "--group=0", "--numeric-owner", `--mtime=@${sourceDate()}`];
  const args = ["--create", "--sort=name", "--format=gnu", ...owner, "-C", scratch, name];
  const tar = execFileSync("tar", args, { maxBuffer: 256 * 1024 * 1024 });
  writeFileSync(join(scratch, "tarball"), gzipSync(tar, { level: 9 }));
  const file = join(output, `${name}.tar.gz`);
  renameSync(join(scratch, "tarball"), file);
  console.log(file);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
