import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { credentials, Metadata, type ServiceError, status as Status } from "@grpc/grpc-js";
import {
  NetworkManagerClient,
  NetworkManagerService,
  type SubscribeRequest,
} from "@mnm/proto/network-manager";
import { costOf } from "./process-cost.js";
import { EventLog, Scenario, statusOf } from "./scenario.js";

/** Words that mean something to JavaScript where names are keys of objects. */
const NAMES = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "\u0000", ""];

const GZIP = 2;

/** How a call was refused. */
type Refusal = Pick<ServiceError, "code" | "details">;

/** What a well-made client can ask for that nobody should; as root, who has no limits of its own. */
describe("calls that ask for trouble", () => {
  let scenario: Scenario;
  /** What the log had before any of it. */
  let logged = 0;
  before(async () => {
    scenario = await Scenario.start({ uplinks: 1 });
    logged = scenario.controller.log().length;
  });
  after(() => scenario[Symbol.asyncDispose]());

  function clientWith(options: Readonly<Record<string, number>>): NetworkManagerClient {
    const target = `unix:${scenario.lab.launcher.controllerSocket}`;
    const own = { "grpc.use_local_subchannel_pool": 1, ...options };
    return new NetworkManagerClient(target, credentials.createInsecure(), own);
  }

  /** The refusal of a GetLink; the other methods with names share its way in. */
  function getLink(client: NetworkManagerClient, link: string, metadata = new Metadata()) {
    return new Promise<Refusal | undefined>((resolve) => {
      client.getLink({ link }, metadata, (error) => resolve(error ?? undefined));
    });
  }

  test("a message of 5 MB, and of 50 MB in 50 kB, are refused before they are read", async () => {
    const before = costOf(scenario.controller).residentKb;
    const plain = clientWith({});
    const large = await getLink(plain, "x".repeat(5_000_000));
    assert.equal(large?.code, Status.RESOURCE_EXHAUSTED);
    plain.close();
    const packed = clientWith({ "grpc.default_compression_algorithm": GZIP });
    const bomb = await getLink(packed, "x".repeat(50_000_000));
    assert.equal(bomb?.code, Status.RESOURCE_EXHAUSTED);
    // One that is small is read, compressed or not.
    assert.equal((await getLink(packed, "nothing"))?.code, Status.NOT_FOUND);
    packed.close();
    const grown = costOf(scenario.controller).residentKb - before;
    assert.ok(grown <= 30 * 1024, `${grown} kB`);
  });

  test("names that mean something to JavaScript are names", async () => {
    for (const name of NAMES) {
      const refusal = await getLink(scenario.client, name);
      assert.equal(refusal?.code, Status.NOT_FOUND, `${name}: ${refusal?.details}`);
      const answers = [
        new Promise<Refusal | undefined>((resolve) => {
          const request = { link: name, metric: 3000, swap: true, persist: true };
          scenario.client.setMetric(request, (error) => resolve(error ?? undefined));
        }),
        ...(["renew", "release", "reconnect"] as const).map(
          (method) =>
            new Promise<Refusal | undefined>((resolve) => {
              scenario.client[method]({ link: name }, (error) => resolve(error ?? undefined));
            }),
        ),
      ];
      for (const answer of await Promise.all(answers)) assert.equal(answer?.code, Status.NOT_FOUND);
      const request: Partial<SubscribeRequest> = {
        links: [name],
        resumeAfter: { instance: name, sequence: 2n ** 64n - 1n },
      };
      const log = new EventLog(scenario.client, request);
      await log.synced();
      assert.deepEqual(log.snapshot, []);
      log.close();
    }
  });

  test("methods that do not exist", async () => {
    const { getStatus } = NetworkManagerService;
    const paths = ["/mnm.v1.NetworkManager/Nothing", "/__proto__/constructor", "/constructor"];
    for (const path of paths) {
      const refusal = await new Promise<Refusal | undefined>((resolve) => {
        scenario.client.makeUnaryRequest(
          path,
          getStatus.requestSerialize,
          getStatus.responseDeserialize,
          {},
          (error) => resolve(error ?? undefined),
        );
      });
      assert.equal(refusal?.code, Status.UNIMPLEMENTED, path);
    }
  });

  test("metadata of 1 MB, and a thousand fields of it, cost their own connection at most", async () => {
    const large = new Metadata();
    large.set("x", "a".repeat(1_000_000));
    const many = new Metadata();
    for (let n = 0; n < 1_000; n += 1) many.set(`x-${n}`, "a");
    for (const metadata of [large, many]) {
      const client = clientWith({});
      assert.ok((await getLink(client, "wan0", metadata)) !== undefined);
      client.close();
      assert.equal((await statusOf(scenario.client)).links.length, 1);
    }
  });

  test("a filter of 6,000 names is a filter", async () => {
    const names = Array.from({ length: 6_000 }, (_, n) => `n${n}`);
    const log = new EventLog(scenario.client, { links: [...names, "wan0"] });
    await log.synced();
    assert.deepEqual(
      log.snapshot.map(({ name }) => name),
      ["wan0"],
    );
    log.close();
  });

  test("and nothing of it is an error of ours", () => {
    const log = scenario.controller.log().slice(logged);
    assert.doesNotMatch(log, /"level":[456]0|Error|at .*\.js:/);
  });
});
