import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { instantFromMs } from "@mnm/proto/net";
import { decodeLeaseRecord, encodeLeaseRecord, leaseOf } from "../dhcp4/index.js";
import { damaged } from "../testing/damage.js";
import { checkLease } from "../testing/dhcp4-fuzz.js";
import { EVERYTHING, randomFrom } from "../testing/dhcp4-mutations.js";
import { DhcpSimulation } from "../testing/dhcp4-simulation.js";
import { addressingOfLease, decodeState, encodeState } from "../uplink/index.js";
import { LeaseStore } from "./lease-store.js";
import { StateFile } from "./state-file.js";

const CLOCK = { now: instantFromMs(500_000), wallMs: 1_700_000_000_000, bootId: "this boot" };
const TURNS = 1000;

describe("damaged files", () => {
  let directory = "";
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "mnm-damage-"));
  });
  after(() => rmSync(directory, { recursive: true }));

  test("a thousand lease files: each is a good lease or none, and never an exception", async () => {
    const client = new DhcpSimulation();
    client.bind({ options: EVERYTHING });
    const lease = leaseOf(client.state);
    assert.ok(lease !== undefined);
    const store = new LeaseStore(directory, () => {});
    store.save("eth0", encodeLeaseRecord(lease, CLOCK));
    await store.flush();
    const [name = ""] = readdirSync(join(directory, "leases"));
    const path = join(directory, "leases", name);
    const text = JSON.stringify({
      version: 1,
      identity: "eth0",
      record: encodeLeaseRecord(lease, CLOCK),
    });
    const random = randomFrom(20260104);
    let kept = 0;
    const refused = new Set<string>();
    for (let turn = 0; turn < TURNS; turn += 1) {
      const content = damaged(text, random);
      writeFileSync(path, content);
      const faults: string[] = [];
      const record = new LeaseStore(directory, (fault) => faults.push(fault)).load("eth0");
      assert.ok(faults.length <= 1, faults.join());
      if (record === undefined) continue;
      const decoded = decodeLeaseRecord(record, CLOCK);
      if (decoded.ok) {
        kept += 1;
        checkLease(decoded.value, CLOCK.now);
        assert.ok(Number.isInteger(decoded.value.terms.leaseSec));
        addressingOfLease(decoded.value, 1500);
      } else {
        refused.add(decoded.error.code);
      }
    }
    assert.ok(kept > 100 && kept < 900, `${kept} are leases still`);
    assert.ok(refused.has("malformed") && refused.has("unknown-version"), [...refused].join());
  });

  test("a thousand state files: what makes sense is kept, and never an exception", () => {
    const values = { rpFilter: 2, arpIgnore: 0 };
    const settings = { bootId: "x", ifindex: 7, name: "eth0", mac: "02:00:00:00:00:01", values };
    const metrics = { automaticMetric: 100, persistedMetric: undefined, usedAt: 5 };
    const text = JSON.stringify(
      encodeState({
        identities: new Map([
          ["path:pci-1", { slot: 1, ...metrics }],
          ["name:eth1", { slot: 2, ...metrics, persistedMetric: 20 }],
        ]),
        settingsFound: new Map([["path:pci-1", settings]]),
      }),
    );
    const random = randomFrom(20260105);
    let kept = 0;
    for (let turn = 0; turn < TURNS; turn += 1) {
      writeFileSync(join(directory, "state.json"), damaged(text, random));
      const state = decodeState(new StateFile(directory, () => {}).load());
      const { identities } = state;
      kept += identities.size;
      const slots = [...identities.values()].map(({ slot }) => slot);
      assert.equal(new Set(slots).size, slots.length);
      assert.ok(slots.every((slot) => Number.isInteger(slot) && slot >= 1 && slot <= 1999));
      // Whatever came of it can be saved and read again.
      const again = new StateFile(directory, () => {});
      assert.ok(again.save(encodeState(state)));
      assert.deepEqual(decodeState(again.load()), state);
    }
    assert.ok(kept > TURNS / 2, `${kept} identities`);
  });
});
