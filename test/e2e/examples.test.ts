import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { REPOSITORY } from "../lab/identity.js";
import { Lab, until } from "../lab/index.js";
import { Program } from "../lab/program.js";
import { Scenario, statusOf } from "./scenario.js";

const EXAMPLES = join(REPOSITORY, "examples");
const PATIENCE_MS = 20_000;

/** Stands between a subscriber and the controller, so that a test can part the two. */
class Relay implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(path: string, target: string) {
    this.path = path;
    this.#server = createServer((near) => {
      if (this.#isCut) {
        near.destroy();
        return;
      }
      const far = createConnection(target);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one);
        one.on("error", () => one.destroy());
        one.on("close", () => {
          this.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
  }

  static async listen(path: string, target: string): Promise<Relay> {
    const relay = new Relay(path, target);
    await new Promise<void>((resolve) => relay.#server.listen(path, resolve));
    return relay;
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe("the subscribers among the examples", () => {
  let scenario: Scenario;
  let nextMetric = 2000;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 1 });
  });
  after(() => scenario[Symbol.asyncDispose]());

  function start(name: string, command: [string, ...string[]], env: NodeJS.ProcessEnv): Program {
    const logFile = join(scenario.lab.directory, "logs", `${name}.log`);
    return new Program({ name, command, logFile, env: { ...process.env, ...env } });
  }

  /** One event, and the number it got. */
  async function changeMetric(): Promise<number> {
    nextMetric += 1;
    const metric = String(nextMetric);
    const { code, stderr } = await scenario.lab.mnmctl("set-metric", "wan0", metric);
    assert.equal(code, 0, stderr);
    return Number((await statusOf(scenario.client)).lastSequence);
  }

  /** The sequence numbers that a subscriber has shown, once it has shown `last`. */
  async function shown(subscriber: Program, last: number): Promise<readonly number[]> {
    const isThere = () => new RegExp(`^#${last} `, "m").test(subscriber.log());
    await subscriber.ready(isThere, `event ${last}`, PATIENCE_MS);
    return [...subscriber.log().matchAll(/^#(\d+) /gm)].map(([, number]) => Number(number));
  }

  const scripts = [
    { name: "typescript", what: "TypeScript on @mnm/proto", file: "dist/subscriber.js" },
    { name: "javascript", what: "JavaScript on @grpc/proto-loader", file: "subscriber.mjs" },
  ];
  for (const { name, what, file } of scripts) {
    test(`${what}: the snapshot, then every event once, whatever happens between`, async () => {
      const { lab } = scenario;
      const { controllerSocket } = lab.launcher;
      await using relay = await Relay.listen(join(lab.directory, name), controllerSocket);
      const command: [string, string] = [process.execPath, join(EXAMPLES, file)];
      const subscriber = start(name, command, { MNM_SOCKET: relay.path });
      try {
        await subscriber.waitForLog(/^link wan0: (LINK_STATE_)?USABLE$/m, PATIENCE_MS);
        const first = await changeMetric();
        await shown(subscriber, first);

        relay.cut();
        await subscriber.waitForLog(/^the stream ended: /m, PATIENCE_MS);
        await changeMetric();
        const last = await changeMetric();
        relay.mend();
        const numbers = await shown(subscriber, last);
        assert.deepEqual(
          numbers,
          numbers.map((_, index) => (numbers[0] ?? 0) + index),
          "no number twice, none left out",
        );
        assert.ok(numbers.length >= 3);
        assert.doesNotMatch(subscriber.log(), /^reset/m);

        // Another controller has another journal: a new snapshot, and on from there.
        await scenario.controller.stop();
        scenario.controller = await lab.startController();
        await subscriber.waitForLog(/^reset: [\s\S]*\nlink wan0: /m, PATIENCE_MS);
        const isUsable = async () => (await lab.mnmctl("status")).code === 0;
        await until(isUsable, { timeoutMs: PATIENCE_MS, what: "a usable uplink" });
        await shown(subscriber, await changeMetric());
      } finally {
        await subscriber.stop();
      }
    });
  }

  const withJq = (process.env["PATH"] ?? "").split(":").some((folder) => {
    return existsSync(join(folder, "jq"));
  });
  test("shell on mnmctl: one line an event", async () => {
    const MNMCTL = join(REPOSITORY, "node_modules/.bin/mnmctl");
    const MNM_SOCKET = scenario.lab.launcher.controllerSocket;
    const script = join(EXAMPLES, "subscriber.sh");
    const subscriber = start("shell", ["sh", script], { MNMCTL, MNM_SOCKET });
    const lineOf = (sequence: number) =>
      withJq
        ? new RegExp(`^#${sequence} \\S+ \\S+: .+$`, "m")
        : new RegExp(`^{.*"sequence":${sequence},.*}$`, "m");
    try {
      // What the journal has comes first, so nothing needs to be waited for before this.
      await subscriber.waitForLog(lineOf(await changeMetric()), PATIENCE_MS);
      await subscriber.waitForLog(lineOf(await changeMetric()), PATIENCE_MS);
      assert.match(subscriber.log(), /metric.changed/);
    } finally {
      // A shell leaves its pipeline behind: end the whole group, as Ctrl-C on a terminal does.
      if (subscriber.running) process.kill(-subscriber.pid, "SIGTERM");
      await subscriber.exited();
    }
  });
});

describe("the helper.json among the examples", () => {
  const config = readFileSync(join(EXAMPLES, "helper.json"), "utf8");

  test("serves the links that it names", async () => {
    await using lab = await Lab.create({ uplinks: 1 });
    await Promise.all([lab.startHelper({ config }), lab.startController()]);
    const isUsable = async () => (await lab.mnmctl("status")).code === 0;
    await until(isUsable, { timeoutMs: PATIENCE_MS, what: "a usable uplink" });
  });

  test("refuses any other", async () => {
    await using lab = await Lab.create({ uplinks: 1, namePrefix: "usb" });
    const [, controller] = await Promise.all([lab.startHelper({ config }), lab.startController()]);
    await controller.waitForLog(/one of .* and not lo/, PATIENCE_MS);
    assert.equal((await lab.mnmctl("status")).code, 4, "no usable uplink");
  });
});
