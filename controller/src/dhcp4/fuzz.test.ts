import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { corpusFiles, withoutCorpora } from "../testing/dhcp4-corpora.js";
import { clientsInEveryState, feedAll, fuzz } from "../testing/dhcp4-fuzz.js";
import { aimed } from "../testing/dhcp4-mutations.js";

const MIB = 1024 * 1024;

describe("bytes from anywhere", () => {
  test("the clients that read them are in every state", () => {
    const kinds = new Set(clientsInEveryState().map(({ state }) => state.kind));
    assert.deepEqual([...kinds].toSorted(), [
      ...["bound", "init", "init-reboot", "rebinding", "rebooting"],
      ...["renewing", "requesting", "selecting", "stopped"],
    ]);
  });

  test("no file of the corpora, as it is, brings a lease", { skip: withoutCorpora }, () => {
    const files = corpusFiles().filter(({ name }) => !name.startsWith("adversarial"));
    assert.ok(files.length > 400, `${files.length} files`);
    const clients = clientsInEveryState();
    const verdicts = new Map<string, number>();
    for (const { bytes } of files) feedAll(clients, bytes, verdicts);
    const other = [...verdicts.keys()].filter((verdict) => !verdict.startsWith("drop: "));
    assert.deepEqual(other, []);
  });

  test("no file of the corpora, aimed at us, does harm", { skip: withoutCorpora }, () => {
    const clients = clientsInEveryState();
    const verdicts = new Map<string, number>();
    for (const { bytes } of corpusFiles()) feedAll(clients, aimed(bytes), verdicts);
    assert.ok((verdicts.get("accept: ACK") ?? 0) > 0, "some are replies to anybody");
  });

  test("a hundred thousand mutations do no harm", (context) => {
    const { verdicts, growth, ...rest } = fuzz({ seed: 20260103, count: 100_000 });
    const count = (prefix: string) =>
      [...verdicts]
        .filter(([verdict]) => verdict.startsWith(prefix))
        .reduce((sum, [, times]) => sum + times, 0);
    context.diagnostic(`${rest.messagesPerSec} messages/s, slowest ${rest.slowestMs} ms`);
    assert.ok(growth < MIB, `the heap grew by ${growth} bytes`);
    assert.equal(rest.messages, 100_000);
    // They are no noise: every verdict is reached, and often.
    for (const verdict of ["accept: ACK", "accept: OFFER", "restart: NAK"]) {
      assert.ok(count(verdict) > 1000, `${verdict} ${count(verdict)} times`);
    }
    assert.ok(count("decline: ") > 100);
    assert.ok(verdicts.size >= 20, `only ${[...verdicts.keys()].join(", ")}`);
  });
});
