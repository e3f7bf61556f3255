import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ispOf, uplinkNumbers } from "./addressing.js";
import { askLease, type DhcpReply } from "./dhcp-asker.js";
import { keptEstates, namespaceName, removeEstate } from "./estate.js";
import { controllerPrivileges, helperPrivileges } from "./identity.js";
import { Lab, type LabMode } from "./index.js";
import { run, until } from "./run.js";

/** What a person would type to use one uplink of the lab: the least that makes it work. */
async function configure(lab: Lab, index: number): Promise<void> {
  const { net, address, gateway } = uplinkNumbersOf(lab, index);
  const link = lab.linkName(index);
  const table = 1000 + index;
  await lab.host.ipBatch([
    `addr add ${address}/24 dev ${link} noprefixroute`,
    `route add ${net}.0/24 dev ${link} src ${address} table ${table}`,
    `route add default via ${gateway} dev ${link} src ${address} table ${table}`,
    `rule add priority ${table} oif ${link} lookup ${table}`,
    `rule add priority ${2000 + index} from ${address} lookup ${table}`,
    `route add default via ${gateway} dev ${link} onlink metric ${10 + index}`,
  ]);
}

function uplinkNumbersOf(lab: Lab, index: number) {
  const isp = lab.isps[index];
  assert.ok(isp);
  return isp.numbers;
}

/** How many packets an ISP's reverse-path filter has dropped. */
async function filteredBy(lab: Lab, index: number): Promise<number> {
  const name = "TcpExtIPReversePathFilter";
  const counters = await lab.isps[index]?.namespace.exec("nstat", "-asz", name);
  return Number(/IPReversePathFilter\s+(\d+)/.exec(counters?.stdout ?? "")?.[1]);
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
}

function namespaces(lab: Lab): readonly string[] {
  const prefix = lab.host.name.replace(/host$/, "");
  return existsSync("/run/netns")
    ? readdirSync("/run/netns").filter((name) => name.startsWith(prefix))
    : [];
}

test("an outside address names its ISP, and no other address does", () => {
  for (const index of [0, 1, 255, 256, 1023]) {
    assert.equal(ispOf(uplinkNumbers(index, "distinct").outside), index);
  }
  for (const address of ["100.64.3.0", "10.0.0.1", "100.63.0.1", "203.0.113.1", ""]) {
    assert.equal(ispOf(address), undefined, address);
  }
});

test("addresses of one mode are as different as the mode promises", () => {
  const addresses = (mode: LabMode, count: number) =>
    new Set(
      Array.from({ length: count }, (_, i) => uplinkNumbers(i, mode)).flatMap((n) => [
        n.address,
        n.secondAddress,
      ]),
    );
  assert.equal(addresses("distinct", 300).size, 600);
  assert.equal(addresses("overlap", 116).size, 232);
  assert.deepEqual([...addresses("same", 9)], ["192.168.8.100", "192.168.8.101"]);
});

for (const mode of ["distinct", "overlap", "same"] as const) {
  test(`${mode}: a bound socket is seen from its own ISP, a wrong source is dropped`, async () => {
    await using lab = await Lab.create({ uplinks: 3, mode });
    const wanted = [0, 1, 2];
    for (const index of wanted) await configure(lab, index);
    const devices = wanted.map((index) => lab.whoami({ device: lab.linkName(index) }));
    assert.deepEqual(await Promise.all(devices), wanted);
    if (mode === "same") return;
    const addresses = wanted.map((index) =>
      lab.whoami({ address: uplinkNumbersOf(lab, index).address }),
    );
    assert.deepEqual(await Promise.all(addresses), wanted);
    assert.equal(await lab.whoami(), 0);
    if (mode === "overlap") return;
    const wrong = { address: uplinkNumbersOf(lab, 1).address, device: lab.linkName(0) };
    assert.equal(await filteredBy(lab, 0), 0);
    assert.equal(await lab.whoami(wrong, 300), "timeout");
    assert.ok((await filteredBy(lab, 0)) > 0, "dropped by the filter, not lost on the way back");
    assert.deepEqual(await lab.whoami({ address: "192.0.2.1" }), {
      error: "EADDRNOTAVAIL (bind)",
    });
    assert.deepEqual(await lab.whoami({ device: "absent" }), { error: "ENODEV (bind to device)" });
  });
}

test("a held TCP connection echoes, survives a default that moves, and fails when unplugged", async () => {
  await using lab = await Lab.create({ uplinks: 2 });
  for (const index of [0, 1]) await configure(lab, index);
  const held = await lab.connect();
  assert.equal(held.isp, 0);
  assert.equal(await held.echo("one"), "one");
  await lab.host.ip("route", "del", "default", "metric", "10");
  assert.equal(await lab.whoami(), 1);
  assert.equal(await held.echo("two"), "two");
  await lab.unplug(0);
  assert.match(await lab.host.ip("link", "show", "dev", "wan0"), /NO-CARRIER/);
  assert.equal(await held.echo("three"), undefined);
  await held.close();
  const refused = await lab.connect({ address: "192.0.2.1" });
  assert.deepEqual(refused.isp, { error: "EADDRNOTAVAIL (bind)" });
});

test("a ping stream through an uplink loses nothing, and something when unplugged", async () => {
  await using lab = await Lab.create({ uplinks: 1 });
  await configure(lab, 0);
  const steady = await lab.startPing({ address: "10.0.0.100" });
  const broken = await lab.startPing({ device: "wan0" });
  await delay(100);
  const count = await steady.stop();
  assert.ok(count.sent >= 5, "a stream goes on");
  assert.deepEqual(count, { ...count, received: count.sent, lost: 0 });
  await lab.unplug(0);
  await delay(200);
  const { lost } = await broken.stop();
  assert.ok(lost >= 10, `lost ${lost}`);
  await assert.rejects(lab.startPing({ device: "wan0" }), /first ping|E[A-Z]+/);
});

for (const dhcp of ["dnsmasq", "builtin"] as const) {
  test(`${dhcp}: grants the uplink's address, refuses another, and moves it at a renewal`, async () => {
    await using lab = await Lab.create({ uplinks: 2, dhcp, leaseSec: 600, hostRpFilter: 0 });
    assert.equal(lab.dhcp, dhcp);
    const { mac, address, gateway, secondAddress } = uplinkNumbersOf(lab, 1);
    const ask = (kind: "discover" | "request", more = {}): Promise<DhcpReply> =>
      askLease(lab.host, { link: "wan1", mac, kind, ...more });
    const granted = { address, server: gateway, leaseSec: 600, router: gateway };
    assert.deepEqual(await ask("discover"), { kind: "offer", ...granted });
    assert.deepEqual(await ask("request", { requested: address }), { kind: "ack", ...granted });
    assert.equal((await ask("request", { requested: secondAddress })).kind, "nak");
    assert.equal(await lab.moveAddress(1), secondAddress);
    assert.equal((await ask("request", { requested: address })).kind, "nak");
    const moved = { ...granted, address: secondAddress };
    assert.deepEqual(await ask("discover"), { kind: "offer", ...moved });
    const selecting = { requested: secondAddress, server: gateway };
    assert.deepEqual(await ask("request", selecting), { kind: "ack", ...moved });
  });

  test(`${dhcp}: serves again after unplugging, and after the link itself was replaced`, async () => {
    await using lab = await Lab.create({ uplinks: 1, dhcp, hostRpFilter: 0 });
    const { mac, address } = uplinkNumbersOf(lab, 0);
    const discover = () => askLease(lab.host, { link: "wan0", mac, kind: "discover" });
    await lab.unplug(0);
    await lab.plug(0);
    assert.equal((await discover()).address, address);
    const ifindex = async () => (await lab.host.ip("-o", "link", "show", "wan0")).split(":")[0];
    const before = await ifindex();
    await lab.removeLink(0);
    assert.equal((await lab.host.exec("ip", "link", "show", "wan0")).code, 1);
    await lab.addLink(0);
    assert.notEqual(await ifindex(), before);
    assert.equal((await discover()).address, address);
  });
}

test("a lease below dnsmasq's shortest takes the lab's own server", async () => {
  await using lab = await Lab.create({ uplinks: 1, leaseSec: 20 });
  assert.equal(lab.dhcp, "builtin");
  await assert.rejects(Lab.create({ uplinks: 1, leaseSec: 20, dhcp: "dnsmasq" }), /120 s/);
});

test("a container is reached by the host and reaches the world through the default", async () => {
  await using lab = await Lab.create({ uplinks: 1 });
  await configure(lab, 0);
  const container = await lab.addContainerBridge();
  assert.equal((await lab.host.exec("ping", "-c1", "-W1", "172.17.0.2")).code, 0);
  assert.equal(await container.probe().whoami({}), 0);
  await container.close();
});

test("programs hold exactly the privileges they are started with", async () => {
  await using lab = await Lab.create({ uplinks: 1 });
  const ids = lab.launcher.identities;
  const helper = lab.host.start("helper-like", [...helperPrivileges(ids), "sleep", "60"]);
  const controller = lab.host.start("controller-like", [
    ...controllerPrivileges(ids),
    "sleep",
    "60",
  ]);
  for (const program of [helper, controller]) {
    await program.ready(() => commandOf(program.pid) === "sleep", "setpriv to be done");
  }
  const two = ["net_admin", "net_raw"];
  const sets = ["effective", "permitted", "inheritable", "bounding", "ambient"] as const;
  for (const set of sets) {
    assert.deepEqual(helper.credentials()[set], two, `helper ${set}`);
    assert.deepEqual(controller.credentials()[set], [], `controller ${set}`);
  }
  if (!ids.separate) return;
  assert.equal(helper.credentials().uid, ids.helperUid);
  assert.equal(controller.credentials().uid, ids.controllerUid);
  assert.deepEqual(controller.credentials().groups, [ids.helperGid]);
});

test("two labs at once do not meet, and closing leaves nothing behind", async () => {
  const [one, two] = await Promise.all([Lab.create({ uplinks: 2 }), Lab.create({ uplinks: 2 })]);
  assert.notEqual(one.host.name, two.host.name);
  await configure(two, 0);
  const server = one.isps[0]?.dhcp.pid;
  assert.ok(server !== undefined && existsSync(`/proc/${server}`));
  assert.equal(namespaces(one).length, 4);
  await one.close();
  assert.deepEqual(namespaces(one), []);
  assert.equal(existsSync(one.directory), false);
  const gone = () => !existsSync(`/proc/${server}`);
  await until(gone, { timeoutMs: 2000, what: "the DHCP server's end" });
  assert.equal(await two.whoami(), 0, "the other lab still works");
  await two.close();
});

test("a lab that could not be built leaves nothing behind", async () => {
  // Other tests may build labs at the same time.
  const ours = () =>
    readdirSync("/run/mnm-lab").filter((name) => name.includes(`.${process.pid}.`));
  await assert.rejects(Lab.create({ uplinks: 1, namePrefix: "a-name-far-too-long-for-a-link" }));
  assert.deepEqual(ours(), []);
});

for (const [signal, left] of [
  ["SIGINT", false],
  ["SIGTERM", false],
  ["SIGKILL", true],
] as const) {
  test(`after ${signal} nothing is left${left ? ", once another lab was built" : ""}`, async () => {
    const script = fileURLToPath(new URL("./idle-lab.js", import.meta.url));
    const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    const [directory] = await once(createInterface({ input: child.stdout }), "line");
    assert.ok(statSync(directory).isDirectory());
    const exit = once(child, "exit");
    child.kill(signal);
    assert.deepEqual(await exit, [null, signal]);
    assert.equal(existsSync(directory), left);
    if (left) await (await Lab.create({ uplinks: 0 })).close();
    assert.equal(existsSync(directory), false);
    const id = /mnm-lab\/([^.]+)/.exec(directory)?.[1];
    const { stdout } = await run("ip", ["netns", "list"]);
    assert.equal(stdout.includes(`mnm-${id}-`), false);
  });
}

test("a kept lab outlives its owner and other labs, until it is removed", async () => {
  const script = fileURLToPath(new URL("./idle-lab.js", import.meta.url));
  const { code, stdout } = await run(process.execPath, [script, "keep"]);
  const directory = stdout.trim();
  assert.equal(code, 0);
  await (await Lab.create({ uplinks: 0 })).close();
  const kept = keptEstates().find((estate) => estate.directory === directory);
  assert.ok(kept, "the next lab left it alone");
  const host = namespaceName(kept, "host");
  assert.equal((await run("ip", ["-n", host, "link", "show", "wan1"])).code, 0);
  removeEstate(kept);
  assert.equal(existsSync(directory), false);
  assert.equal(existsSync(`/run/netns/${host}`), false);
});
