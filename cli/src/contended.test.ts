import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { LinkState } from "@mnm/proto/network-manager";
import { run } from "./run.js";
import { FakeController, LINK, STATUS } from "./testing/fake-controller.js";
import { Terminal } from "./testing/terminal.js";

describe("what is contended", () => {
  const USABLE = { ...LINK, state: LinkState.USABLE, metric: 10, table: 7701 };
  let fake: FakeController;
  beforeEach(() => {
    fake = new FakeController();
  });
  afterEach(() => fake.remove());

  async function mnmctl(...argv: readonly string[]) {
    const terminal = new Terminal({ env: { MNM_SOCKET: fake.socket } });
    const code = await run(argv, terminal);
    return { code, stdout: terminal.stdout };
  }

  const contended = [
    {
      object: "rule priority 10000 from 192.0.2.7 lookup 7701",
      culprit: "vpnd (pid 8)",
      hint: "stop it",
      repairs: 7,
      sinceMs: 90_000n,
    },
  ];

  const fights = [
    { name: "says 6 when a link is contended", links: [{ ...USABLE, contended }], code: 6 },
    { name: "says 6 when what all share is", host: { contended }, links: [USABLE], code: 6 },
    { name: "says 4 when none is usable either", host: { contended }, links: [LINK], code: 4 },
  ];
  for (const { name, host, links, code } of fights) {
    test(name, async () => {
      const value = { status: { ...STATUS, ...host, links } };
      await fake.start({ unary: { getStatus: () => ({ value }) } });
      assert.equal((await mnmctl("status")).code, code);
    });
  }

  test("a contended link is shown as one, with all that is known of it", async () => {
    const link = { ...USABLE, contended };
    const status = { value: { status: { ...STATUS, links: [link] } } };
    await fake.start({ unary: { getStatus: () => status, getLink: () => ({ value: { link } }) } });
    assert.match((await mnmctl("status")).stdout, /eth0 +wired +usable, contended +10 /);
    assert.match(
      (await mnmctl("link", "eth0")).stdout,
      /contended +rule priority 10000 from 192\.0\.2\.7 lookup 7701, changed by vpnd \(pid 8\), put back 7 times, for 1 min; stop it/,
    );
    const { links } = JSON.parse((await mnmctl("status", "--json")).stdout);
    assert.deepEqual(links[0].contended, [
      {
        object: "rule priority 10000 from 192.0.2.7 lookup 7701",
        culprit: "vpnd (pid 8)",
        hint: "stop it",
        repairs: 7,
        since_ms: 90_000,
      },
    ]);
  });
});
