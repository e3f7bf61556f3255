import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { isAllowedName } from "../allow-list.js";
import { DEFAULT_CONFIG, loadConfig, parseConfig } from "./config.js";

describe("parseConfig()", () => {
  test("takes the defaults for what is not there", () => {
    assert.deepEqual(parseConfig("{}"), { ok: true, value: DEFAULT_CONFIG });
  });

  test("takes the whole file of the contract", () => {
    const text = `{ "links": ["wan*", "usb0"], "tables": [8000, 8010],
      "main_default": { "allow": false, "metrics": [5, 9] },
      "selectors": { "uids": [0, 1000], "fwmarks": [7], "iifs": ["docker0"] },
      "legacy_broadcast": true, "peer_uid": 1001 }`;
    const value = {
      links: ["wan*", "usb0"],
      tables: [8000, 8010],
      mainDefault: { allow: false, metrics: [5, 9] },
      selectors: { uids: [0, 1000], fwmarks: [7], iifs: ["docker0"] },
      legacyBroadcast: true,
      peerUid: 1001,
    };
    assert.deepEqual(parseConfig(text), { ok: true, value });
  });

  const refused: [string, RegExp][] = [
    ["", /JSON/],
    ["[]", /^The file must be an object$/],
    ["null", /^The file must be an object$/],
    ['{"link": []}', /^Key "link" is unknown; the nearest known one is "links"$/],
    ['{"peeruid": 1}', /nearest known one is "peer_uid"$/],
    ['{"main_default": {"metric": []}}', /^Key "main_default.metric" .* "main_default.metrics"$/],
    [`{"${"x".repeat(60_000)}": 1}`, /^Key "x{40}" is unknown/],
    ['{"main_default": 1}', /^main_default must be an object$/],
    ['{"links": "wan*"}', /^links must be a list/],
    ['{"links": [""]}', /^links must be/],
    ['{"links": ["sixteen-letters!"]}', /^links must be/],
    ['{"links": ["a/b"]}', /^links must be/],
    ['{"tables": [255, 9699]}', /^tables must be \[first, last\], from 256$/],
    ['{"tables": [9699, 7701]}', /^tables must be/],
    ['{"tables": [7701]}', /^tables must be/],
    ['{"tables": [7701.5, 7702]}', /^tables must be/],
    ['{"tables": [7701, 4294967296]}', /^tables must be/],
    ['{"main_default": {"allow": "yes"}}', /^main_default.allow must be true or false$/],
    ['{"main_default": {"metrics": [0, 5]}}', /^main_default.metrics must be/],
    ['{"selectors": {"uids": ["mnm"]}}', /^selectors.uids must be a list of users' numbers$/],
    ['{"selectors": {"uids": [4294967295]}}', /^selectors.uids must be/],
    ['{"selectors": {"uids": 1000}}', /^selectors.uids must be/],
    ['{"selectors": {"fwmarks": [0]}}', /^selectors.fwmarks must be a list of marks, from 1$/],
    ['{"selectors": {"iifs": ["eth*", "a/b"]}}', /^selectors.iifs must be a list of link names$/],
    ['{"selectors": {"users": []}}', /nearest known one is "selectors.uids"$/],
    ['{"legacy_broadcast": 1}', /^legacy_broadcast must be true or false$/],
    ['{"peer_uid": -1}', /^peer_uid must be/],
    ['{"peer_uid": ""}', /^peer_uid must be/],
    ['{"__proto__": 1}', /^Key "__proto__" is unknown/],
  ];
  for (const [text, want] of refused) {
    test(`refuses ${text.slice(0, 60) || "nothing"}`, () => {
      const result = parseConfig(text);
      assert.ok(!result.ok);
      assert.match(result.error, want);
    });
  }
});

describe("loadConfig()", () => {
  const directory = mkdtempSync("/tmp/mnm-helper-config-");
  after(() => rmSync(directory, { recursive: true }));
  const file = (name: string, text: string, mode = 0o644) => {
    writeFileSync(`${directory}/${name}`, text);
    return { path: `${directory}/${name}`, mode };
  };

  test("says that a file is missing", () => {
    const result = loadConfig(`${directory}/none`);
    assert.match(result.ok ? "" : result.error, /^Cannot read .*\/none: ENOENT$/);
  });

  test("refuses a large file, a directory and a link to a device", () => {
    const { path } = file("large", " ".repeat(64 * 1024 + 1));
    symlinkSync("/dev/zero", `${directory}/zero`);
    for (const [one, want] of [
      [path, /is larger than 64 KiB|belongs to uid/],
      [directory, /is not a regular file$/],
      [`${directory}/zero`, /is not a regular file$/],
    ] as const) {
      const result = loadConfig(one);
      assert.match(result.ok ? "" : result.error, want);
    }
  });

  test("names the file in what it says", () => {
    const { path } = file("bad", "{");
    const result = loadConfig(path);
    assert.match(result.ok ? "" : result.error, /bad: .*JSON|belongs to uid/);
  });
});

describe("isAllowedName()", () => {
  const cases: [string, string, boolean][] = [
    ["*", "eth0", true],
    ["*", "lo", false],
    ["lo", "lo", false],
    ["l*", "lo", false],
    ["eth0", "eth0", true],
    ["eth0", "eth01", false],
    ["eth*", "eth", true],
    ["eth*", "veth0", false],
    ["*eth*", "veth0", true],
    ["e*0", "eth0", true],
    ["e*0", "eth01", false],
    ["**", "eth0", true],
    ["w*n*1", "wwan-1", true],
    ["w*n*1", "wwa-1", false],
    ["e.h0", "eth0", false],
    ["a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaa", false],
  ];
  for (const [pattern, name, want] of cases) {
    test(`${pattern} ${want ? "allows" : "does not allow"} ${name}`, () => {
      assert.equal(isAllowedName({ ...DEFAULT_CONFIG, links: ["none", pattern] }, name), want);
    });
  }
});
