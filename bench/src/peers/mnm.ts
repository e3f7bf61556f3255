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
        ...asByUnit("mnm-helper"),
        // No peer is measured under its unit's filter.
        confined: false,
        wait: false,
      }),
      lab.startController({
        runBy: [tools.stamp, controller],
        ...asByUnit("mnm-controller"),
        confined: false,
        wait: false,
      }),
    ]);
    for (const { pid } of programs) cgroup.add(pid);
    return [helper, controller];
  },
};

/** What the unit gives to node before the program's file, and to its environment. */
function asByUnit(program: string) {
  const unit = readFileSync(`${SYSTEMD}/${program}.service`, "utf8");
  const command = /^ExecStart=(.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
  const file = command.findIndex((word) => word.endsWith(`${program}.js`));
  if (file < 1) throw new Error(`${program}.service starts no ${program}.js`);
  const variables = [...unit.matchAll(/^Environment=(\w+)=(\S+)$/gm)];
  const env = Object.fromEntries(variables.map(([, name = "", value = ""]) => [name, value]));
  return { nodeArgs: command.slice(1, file), env };
}
