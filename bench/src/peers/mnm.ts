import { readFileSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import type { Ground, Peer } from "../peer.js";
import { BENCH } from "../tools.js";

const SYSTEMD = resolve(BENCH, "../systemd");

/**
 * The bundled programs with the units' node options, users and privileges. The time of their exec
 * is that of setpriv, a millisecond before theirs.
 */
export const MNM: Peer = {
  name: "mnm",
  maxLinks: 1000,
  followsLinks: true,
  // Its state is in the lab's folder: nothing to forget for a fresh start, which has a fresh lab.
  async start({ lab, tools, cgroup }: Ground) {
    const { helperSocket, controllerSocket } = lab.launcher;
    const helper = `${helperSocket}.started`;
    const controller = `${controllerSocket}.started`;
    rmSync(helper, { force: true });
    rmSync(controller, { force: true });
    // Both at once, as systemd does; the helper's socket is there before it is, as with its unit.
    const programs = await Promise.all([
      lab.startHelper({
        runBy: [tools.stamp, helper, "-l", helperSocket],
        nodeArgs: nodeArgsOf("mnm-helper"),
        wait: false,
      }),
      lab.startController({
        runBy: [tools.stamp, controller],
        nodeArgs: nodeArgsOf("mnm-controller"),
        wait: false,
      }),
    ]);
    for (const { pid } of programs) cgroup.add(pid);
    return [helper, controller];
  },
};

/** What the unit gives to node before the program's file. */
function nodeArgsOf(program: string): readonly string[] {
  const unit = readFileSync(`${SYSTEMD}/${program}.service`, "utf8");
  const command = /^ExecStart=(.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
  const file = command.findIndex((word) => word.endsWith(`${program}.js`));
  if (file < 1) throw new Error(`${program}.service starts no ${program}.js`);
  return command.slice(1, file);
}
