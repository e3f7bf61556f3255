import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { LinkState } from "@mnm/proto/network-manager";
import { asVersion, builtPackage, CONTROLLER, HELPER, InstalledHost } from "./installed.js";
import { kernelText, ours } from "./kernel-text.js";

describe("the Debian package on a running system", () => {
  let host: InstalledHost;
  before(async () => {
    host = await InstalledHost.start({ uplinks: 2 });
  });
  after(() => host[Symbol.asyncDispose]());

  /** Pings by each uplink while `change` runs: none is lost. */
  async function withoutLoss(change: () => Promise<void>): Promise<void> {
    const streams = await Promise.all(
      host.lab.isps.map(({ numbers }) => host.lab.startPing({ address: numbers.address })),
    );
    await change();
    for (const stream of streams) {
      const { sent, lost } = await stream.stop();
      assert.ok(sent > 0);
      assert.equal(lost, 0);
    }
  }

  const processes = async () => {
    const states = await Promise.all(
      [CONTROLLER, HELPER].map((unit) => host.system.show(unit, "MainPID")),
    );
    return states.map(({ MainPID }) => MainPID);
  };

  test("an upgrade takes no uplink away, and puts both programs in place", async () => {
    const next = await asVersion(await builtPackage(), "9.8.7", host.lab.directory);
    const before = await processes();
    const kernel = await kernelText(host.lab.host);
    // What an operator who wants to stop MNM for good has asked for is not meant for an upgrade.
    await host.configure('on_stop: flush\nlinks:\n  "wan*": {}\n');
    await host.system.shell(`systemctl reload ${CONTROLLER}`);
    await withoutLoss(async () => {
      await host.install(next);
      await host.online();
    });
    const installed = await host.system.shell("dpkg-query -W mnm");
    assert.equal(installed.trim(), "mnm\t9.8.7");
    for (const [index, pid] of (await processes()).entries()) {
      assert.ok(pid !== "0" && pid !== before[index], `${pid}`);
    }
    assert.deepEqual(await kernelText(host.lab.host), kernel);
    // A conffile that was changed is the administrator's.
    assert.match(readFileSync(host.system.path("/etc/mnm/mnm.yaml"), "utf8"), /on_stop: flush/);
    await host.configure('links:\n  "wan*": {}\n');
    await host.system.shell(`systemctl reload ${CONTROLLER}`);
  });

  test("with an upgrade to the same version again, too", async () => {
    const next = await asVersion(await builtPackage(), "9.8.8", host.lab.directory);
    await withoutLoss(async () => {
      await host.install(next);
      await host.install(next);
      await host.online();
    });
  });

  test("removal stops the services and leaves the uplinks working", async () => {
    await withoutLoss(async () => {
      await host.system.shell("apt-get remove -y mnm 2>&1");
    });
    assert.equal(await host.status(), undefined);
    for (const unit of [CONTROLLER, HELPER, "mnm-helper.socket"]) {
      assert.equal(await host.system.isActive(unit), false, unit);
    }
    assert.notDeepEqual(await ours(host.lab.host), []);
    assert.ok(existsSync(host.system.path("/etc/mnm/mnm.yaml")));
  });

  test("installed again it goes on where it was", async () => {
    await withoutLoss(async () => {
      await host.install(await builtPackage());
      await host.online();
    });
    const links = (await host.status())?.links ?? [];
    assert.ok(links.every(({ state }) => state === LinkState.USABLE));
  });

  test("purging leaves nothing: no file, no unit, no route", async () => {
    // Not by an uplink: without an address of its own a link loses all of its routes.
    await host.lab.host.ip("route", "add", "198.51.100.0/24", "dev", "lo", "proto", "static");
    await host.lab.host.ip("rule", "add", "priority", "9100", "table", "7701", "proto", "static");
    await host.system.shell("apt-get purge -y mnm 2>&1");
    assert.deepEqual(await ours(host.lab.host), []);
    const { routes, rules } = await kernelText(host.lab.host);
    assert.ok(routes.some((route) => route.includes("198.51.100.0/24")));
    assert.ok(rules.some((rule) => rule.includes("lookup 7701")));
    for (const path of [
      "/etc/mnm",
      "/var/lib/mnm",
      "/usr/lib/mnm",
      "/run/mnm",
      "/run/mnm-helper",
    ]) {
      assert.equal(existsSync(host.system.path(path)), false, path);
    }
    const left = await host.system.shell(
      "find /etc /usr/bin /usr/sbin /usr/lib/systemd /var/lib/systemd /usr/share -name '*mnm*' -not -path '*/node_modules/*'",
    );
    assert.equal(left, "");
    // systemd may remember for a while that there was one, without a file and without a process.
    const units = await host.system.shell("systemctl list-units --all --no-legend 'mnm*'");
    for (const unit of units.split("\n").filter(Boolean)) {
      assert.match(unit, / not-found +inactive +dead /);
    }
    assert.match(
      await host.system.shell("systemctl list-unit-files --no-legend 'mnm*' | wc -l"),
      /^0/,
    );
  });
});
