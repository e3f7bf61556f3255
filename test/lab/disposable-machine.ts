import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Output, run } from "./run.js";

/** Sets up `machine` as this machine's files, each copied when written; in memory. */
const SETUP = `
set -eu
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir upper work machine
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work machine
mount -t proc proc machine/proc
mount -t sysfs sysfs machine/sys
mount --bind /dev machine/dev
mount -t tmpfs tmpfs machine/run
mkdir -p machine/usr/bin
[ "$(chroot machine readlink -f /usr/bin/node)" = "$2" ] || ln -sf "$2" machine/usr/bin/node
`;

/**
 * Runs a shell script, as root, on what looks like this machine but is gone afterwards: its files
 * are overlaid, its network is another namespace, and nothing runs in it. `$1` and so on are args.
 * Files of /run and of other mounts are not seen; what the script needs is best below /.
 */
export async function onDisposableMachine(
  script: string,
  args: readonly string[] = [],
): Promise<Output> {
  const directory = mkdtempSync(join(tmpdir(), "mnm-machine-"));
  const enter = `${SETUP}\nshift 2\nexec chroot machine sh -eu -c "$@"`;
  const inside = ["sh", "-c", enter, "sh", directory, process.execPath, script, "sh", ...args];
  try {
    return await run("unshare", ["--mount", "--net", ...inside]);
  } finally {
    // The mounts have gone with their namespace.
    rmdirSync(directory);
  }
}
