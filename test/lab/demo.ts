// `make demo`: the whole of MNM before your eyes. demo.js [--keep | --down]
import { spawnSync } from "node:child_process";
import { keptEstates, removeEstate } from "./estate.js";
import { programFile, REPOSITORY } from "./identity.js";
import { Lab, until } from "./index.js";
import { heading, Scroll, say, shellText, showCommand, showOutput } from "./narrator.js";
import type { Program } from "./program.js";
import { run } from "./run.js";

const UPLINKS = 3;

/** A demo asks for no package that a test may ask for. */
const UNCONFINED = { confined: false };

const [flag] = process.argv.slice(2);
const keep = flag === "--keep";
if (process.getuid?.() !== 0) process.exit(inNamespaces());
else if (flag === "--down") takeDown();
else await demo();

/** An ordinary user is root in namespaces of their own; the demo then runs in these. */
function inNamespaces(): number {
  if (flag === "--down") {
    console.log("Nothing to remove: without root, a lab ends with its demo.");
    return 0;
  }
  console.log("Not root: the demo runs in a user namespace of its own.");
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync(`${REPOSITORY}/test/lab/unshare.sh`, again, { stdio: "inherit" });
  if (status === 0) return 0;
  console.error("The demo did not end well. Where user namespaces are not allowed, use sudo.");
  return status ?? 1;
}

function takeDown(): void {
  const kept = keptEstates();
  for (const estate of kept) removeEstate(estate);
  console.log(kept.length === 0 ? "No demo is running" : `Removed ${kept.length} kept demo(s)`);
}

async function demo(): Promise<void> {
  await demandTools(["ip", "nft", "ping", "setpriv"]);
  const lab = await buildLab();
  const programs: Program[] = [];
  try {
    await startPrograms(lab, programs);
    await showUplinks(lab);
    await changeMetric(lab);
    await pullCable(lab);
    lookAround(lab);
    if (keep && lab.launcher.identities.separate) return leave(lab);
    if (keep) openShell(lab);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    // The logs themselves go away with the lab.
    for (const program of programs)
      console.error(`${program.name}:\n${program.log().slice(-2000)}`);
    process.exitCode = 1;
  }
  await lab.close();
  say("All of it is gone again: namespaces, programs, files.");
}

async function demandTools(tools: readonly string[]): Promise<void> {
  const missing: string[] = [];
  for (const tool of tools) {
    if ((await run("sh", ["-c", 'command -v "$0"', tool])).code !== 0) missing.push(tool);
  }
  if (missing.length === 0) return;
  console.error(
    `The demo needs ${missing.join(", ")}: apt-get install iproute2 nftables iputils-ping`,
  );
  process.exit(1);
}

async function buildLab(): Promise<Lab> {
  heading(`A host with ${UPLINKS} uplinks, an ISP behind each, and 203.0.113.1 behind them all`);
  const lab = await Lab.create({ uplinks: UPLINKS });
  const server =
    lab.dhcp === "dnsmasq"
      ? "dnsmasq gives out the addresses."
      : "There is no dnsmasq here: the lab's own small DHCP server gives out the addresses.";
  say(`Network namespaces, nothing of this machine's own network. ${server}`);
  for (const { index, namespace, numbers } of lab.isps) {
    say(
      `${lab.linkName(index)} - ${namespace.name} (gateway ${numbers.gateway}, NAT) - 203.0.113.1`,
    );
  }
  return lab;
}

async function startPrograms(lab: Lab, programs: Program[]): Promise<void> {
  const { identities } = lab.launcher;
  heading("The helper: two capabilities, and no decision of its own");
  const helper = await lab.startHelper(UNCONFINED);
  programs.push(helper);
  describe(helper);
  heading("The controller: every decision, and no privilege at all");
  const controller = await lab.startController(UNCONFINED);
  programs.push(controller);
  describe(controller);
  if (!identities.separate) {
    say("In this user namespace both have the same uid; only their capabilities differ.");
  }
  const started = performance.now();
  await until(async () => (await usableLinks(lab)).length === UPLINKS, {
    timeoutMs: 20_000,
    what: `all uplinks to be usable`,
  });
  say(`All ${UPLINKS} uplinks usable, ${Math.round(performance.now() - started)} ms later.`);
}

function describe(program: Program): void {
  // Without what only makes a closed checkout visible to it.
  const from = program.command.indexOf("setpriv");
  showCommand(shellText([...program.command.slice(0, 4), ...program.command.slice(from)]));
  const { uid, effective, bounding } = program.credentials();
  const names = (list: readonly string[]) => (list.length === 0 ? "none" : list.join(", "));
  say(
    `pid ${program.pid}, uid ${uid}; capabilities: ${names(effective)}; could ever get: ${names(bounding)}`,
  );
}

/** The links that `mnmctl status --json` calls usable. */
async function usableLinks(lab: Lab): Promise<readonly string[]> {
  const { stdout } = await lab.mnmctl("status", "--json");
  if (stdout === "") return [];
  const status: { readonly links?: readonly { readonly name: string; readonly state: string }[] } =
    JSON.parse(stdout);
  return (status.links ?? []).filter(({ state }) => state === "usable").map(({ name }) => name);
}

async function mnmctl(lab: Lab, ...args: readonly string[]): Promise<void> {
  showCommand(shellText(["mnmctl", ...args]));
  const { stdout, stderr } = await lab.mnmctl(...args);
  showOutput(stdout + stderr);
}

async function showUplinks(lab: Lab): Promise<void> {
  heading("Every uplink at once");
  await mnmctl(lab, "status");
  for (const isp of lab.isps) {
    const ping = ["ping", "-n", "-c1", "-W1", "-I", isp.address, "203.0.113.1"];
    showCommand(shellText(ping));
    showOutput((await lab.host.exec(...ping)).stdout);
    say(`the far side saw ${ispText(await lab.whoami({ address: isp.address }))}`);
  }
}

function ispText(seen: Awaited<ReturnType<Lab["whoami"]>>): string {
  if (typeof seen === "number") return `ISP ${seen}`;
  return seen === "timeout" ? "nothing" : `an error: ${seen.error}`;
}

async function changeMetric(lab: Lab): Promise<void> {
  heading("Which uplink do programs use that choose none? The one with the lowest metric");
  const held = await lab.connect();
  say(`a TCP connection, now open, went out by ${ispText(held.isp)}`);
  await mnmctl(lab, "set-metric", lab.linkName(2), "5");
  say(`a new connection goes out by ${ispText(await lab.whoami())}`);
  const echo = await held.echo("still here");
  say(`the old one ${echo === "still here" ? "still works" : "broke"}`);
  await held.close();
  await mnmctl(lab, "status");
}

async function pullCable(lab: Lab): Promise<void> {
  const link = lab.linkName(1);
  heading(`Pulling the cable of ${link}, and putting it back`);
  showCommand("mnmctl events --follow");
  const env = { ...process.env, MNM_SOCKET: lab.launcher.controllerSocket };
  const command = [process.execPath, programFile("mnmctl"), "events", "--follow"] as const;
  const events = new Scroll([...command], env);
  try {
    for (const [direction, event] of [
      ["down", "unusable"],
      ["up", "usable"],
    ] as const) {
      const from = events.length;
      showCommand(`ip -n ${lab.isps[1]?.namespace.name} link set lan ${direction}`);
      await (direction === "down" ? lab.unplug(1) : lab.plug(1));
      await events.waitFor(new RegExp(`${link}.*\\b${event}\\b`), from);
    }
  } finally {
    events.stop();
  }
  say(`from ${link} the far side sees ${ispText(await lab.whoami({ device: link }))} again`);
}

function lookAround(lab: Lab): void {
  heading("Looking around");
  say(
    keep
      ? "A shell on that host:"
      : "After `make demo KEEP=1` all this stays. A shell on that host:",
  );
  const socket = `MNM_SOCKET=${lab.launcher.controllerSocket}`;
  showCommand(`sudo ${shellText(["env", socket, ...lab.host.argv("bash")])}`);
  say("and in it, for instance:");
  showCommand(shellText([process.execPath, programFile("mnmctl"), "status", "--watch"]));
  showCommand("ip rule; ip route show table all; ping -I wan1 203.0.113.1");
  say(`Logs: ${lab.directory}/logs`);
}

function leave(lab: Lab): never {
  lab.keep();
  say("KEEP=1: it keeps running. Remove it with: make demo-down");
  process.exit(0);
}

/** In a user namespace nothing can outlive the demo, so the person looks around from inside. */
function openShell(lab: Lab): void {
  say("KEEP=1: without root the lab lives as long as this shell. Leave it with: exit");
  const [file, ...args] = lab.host.argv(process.env["SHELL"] ?? "sh");
  const env = { ...process.env, MNM_SOCKET: lab.launcher.controllerSocket };
  spawnSync(file, args, { stdio: "inherit", env });
}
