import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { formatIpv4 } from "@mnm/proto/net";
import fc from "fast-check";
import {
  type Config,
  DEFAULT_CONFIG,
  formatProblem,
  type LinkEntry,
  parseConfig,
} from "./index.js";

function configOf(text: string): Config {
  const result = parseConfig(text, "mnm.yaml");
  assert.ok(result.ok, result.ok ? "" : result.error.map(formatProblem).join("\n"));
  return result.value;
}

function problemsOf(text: string): readonly string[] {
  const result = parseConfig(text, "f");
  return result.ok ? [] : result.error.map(formatProblem);
}

function exampleOf(name: string): string {
  return readFileSync(new URL(`../../../examples/${name}`, import.meta.url), "utf8");
}

/** An entry as one line, so that tables stay readable. */
function describeEntry({ label, match, mode, method, methodWritten, metric }: LinkEntry): string {
  const how =
    method.kind === "static"
      ? `static ${formatIpv4(method.address)}/${method.prefixLength}` +
        (method.gateway === undefined ? "" : ` via ${formatIpv4(method.gateway)}`)
      : method.kind;
  const written = methodWritten ? "" : " (unsaid)";
  return `${label} by ${match.kind}: ${mode} ${how}${written} metric ${metric ?? "auto"}`;
}

describe("parseConfig", () => {
  test("the example says what its comments say", () => {
    const config = configOf(exampleOf("mnm.yaml"));
    assert.deepEqual(config.links.map(describeEntry), [
      "eth0 by name: manage dhcp (unsaid) metric 10",
      "lan0 by name: manage static 198.51.100.2/24 via 198.51.100.1 metric 20",
      "wan* by pattern: manage dhcp (unsaid) metric auto",
      "modem-a by path: manage dhcp (unsaid) metric 31",
      "eth7 by name: manage dhcp metric auto",
      "ppp0 by name: manage adopt metric 90",
      "docker* by pattern: ignore dhcp (unsaid) metric auto",
    ]);
    assert.deepEqual(config.links[4]?.method, {
      kind: "dhcp",
      hostName: "probe-7",
      clientId: Uint8Array.of(1, 2, 0, 0, 0, 0, 7),
      vendorClass: "MNM",
      rapidCommit: true,
      conflictDetection: "strict",
    });
    assert.deepEqual({ ...config, links: [] }, DEFAULT_CONFIG);
  });

  test("MULTI's file is the same configuration in other words", () => {
    assert.deepEqual(configOf(exampleOf("multi.yaml")).links.map(describeEntry), [
      "eth0 by name: manage dhcp (unsaid) metric 1",
      "lan0 by name: manage static 198.51.100.2/24 via 198.51.100.1 metric 2",
      "lab0 by name: manage static 192.0.2.2/25 metric 3",
      "ppp0 by name: manage dhcp (unsaid) metric 32",
      "docker0 by name: ignore dhcp (unsaid) metric auto",
    ]);
  });

  const accepted: readonly {
    readonly name: string;
    readonly text: string;
    readonly want: unknown;
  }[] = [
    { name: "an empty file", text: "", want: DEFAULT_CONFIG },
    { name: "comments only", text: "# nothing\n", want: DEFAULT_CONFIG },
    { name: "links without any", text: "links:\n", want: DEFAULT_CONFIG },
    { name: "a byte order mark", text: "\ufeffunique: false\n", want: DEFAULT_CONFIG },
    {
      name: "line ends of Windows",
      text: "unique: false\r\non_stop: keep\r\n",
      want: DEFAULT_CONFIG,
    },
    {
      name: "every host setting",
      text: "default: ignore\nunique: true\non_stop: release\nlegacy_broadcast: true",
      want: {
        ...{ links: [], defaultMode: "ignore", unique: true },
        ...{ onStop: "release", legacyBroadcast: true },
      },
    },
    {
      name: "quotes, which change nothing",
      text: '"unique": "true"',
      want: { ...DEFAULT_CONFIG, unique: true },
    },
  ];
  for (const { name, text, want } of accepted) {
    test(`accepts ${name}`, () => assert.deepEqual(configOf(text), want));
  }

  test("accepts links in every shape", () => {
    const text = `links:
  eth0:
  "?lan*": { method: dhcp }
  far: { match: { mac: 02:00:00:00:00:0A }, method: static, address: 192.0.2.1/32, gateway: 198.51.100.1 }
  p2p: &p2p { method: static, address: 192.0.2.0/31, gateway: 192.0.2.1 }
  p2q: *p2p
`;
    assert.deepEqual(configOf(text).links.map(describeEntry), [
      "eth0 by name: manage dhcp (unsaid) metric auto",
      "?lan* by pattern: manage dhcp metric auto",
      "far by mac: manage static 192.0.2.1/32 via 198.51.100.1 metric auto",
      "p2p by name: manage static 192.0.2.0/31 via 192.0.2.1 metric auto",
      "p2q by name: manage static 192.0.2.0/31 via 192.0.2.1 metric auto",
    ]);
  });

  const detections = [
    ["nothing said", "{}", "optimistic"],
    ["the default said", "{ conflict_detection: optimistic }", "optimistic"],
    ["strict", "{ conflict_detection: strict }", "strict"],
    // YAML 1.1 would have read a boolean.
    ["off", "{ conflict_detection: off }", "off"],
  ] as const;
  for (const [name, fields, want] of detections) {
    test(`conflict detection: ${name}`, () => {
      const method = configOf(`links: { a: ${fields} }`).links[0]?.method;
      assert.equal(method?.kind === "dhcp" ? method.conflictDetection : undefined, want);
    });
  }

  const refused: readonly {
    readonly name: string;
    readonly text: string;
    readonly want: readonly string[];
  }[] = [
    {
      name: "an unknown key, naming the nearest",
      text: "uniqe: true",
      want: ["f:1:1: Unknown key uniqe; did you mean unique?"],
    },
    {
      name: "an unknown key, listing all when none is near",
      text: "links: { eth0: { colour: red } }",
      want: [
        "f:1:18: Unknown key colour; known are mode, method, metric, match, address, gateway, hostname, client_id, vendor_class, rapid_commit, conflict_detection",
      ],
    },
    {
      name: "a word for a boolean",
      text: "unique: yes",
      want: ["f:1:9: unique yes is not true or false"],
    },
    {
      name: "a key without value",
      text: "unique:",
      want: ["f:1:1: unique has no value; it is true or false"],
    },
    {
      name: "a mapping for a word",
      text: "unique: {}",
      want: ["f:1:1: unique has a compound value; it is true or false"],
    },
    {
      name: "a wrong choice",
      text: "on_stop: stay",
      want: ["f:1:10: on_stop stay is not keep, flush or release"],
    },
    {
      name: "a broadcast that is neither on nor off",
      text: "legacy_broadcast: perhaps",
      want: ["f:1:19: legacy_broadcast perhaps is not true or false"],
    },
    {
      name: "the mode of a later version",
      text: "links: { br0: { mode: observe } }",
      want: ["f:1:23: mode observe is not available in this version; use manage or ignore"],
    },
    {
      name: "metric 0",
      text: "links: { a: { metric: 0 } }",
      want: ["f:1:23: metric 0 is not a whole number from 1 to 9999"],
    },
    {
      name: "metric 10000",
      text: "links: { a: { metric: 10000 } }",
      want: ["f:1:23: metric 10000 is not a whole number from 1 to 9999"],
    },
    {
      name: "a metric in octal",
      text: "links: { a: { metric: 010 } }",
      want: ["f:1:23: metric 010 is not a whole number from 1 to 9999"],
    },
    {
      name: "one metric for two links",
      text: "links:\n  a: { metric: 7 }\n  b: { metric: 7 }",
      want: ["f:3:16: b: metric 7 already belongs to a (line 2); choose another"],
    },
    {
      name: "a metric for a pattern",
      text: 'links: { "w*": { metric: 7 } }',
      want: [
        "f:1:18: w* may be several links, which cannot share one metric; give each its own entry, or leave the metric out",
      ],
    },
    {
      name: "a link twice",
      text: "links:\n  a: {}\n  a: {}",
      want: ["f:3:3: a is here twice, first in line 2"],
    },
    {
      name: "a name that the kernel refuses",
      text: "links: { a-name-of-16-char: {} }",
      want: [
        "f:1:10: a-name-of-16-char is not a link's name: 1 to 15 ASCII characters without space, / and :",
      ],
    },
    {
      name: "a pattern that no name fits",
      text: 'links: { "a b*": {} }',
      want: [
        "f:1:10: No link's name is like a b*: they have 1 to 15 ASCII characters without space, / and :",
      ],
    },
    {
      name: "static without address",
      text: "links: { a: { method: static } }",
      want: ["f:1:10: a is static but has no address; add one, such as address: 192.0.2.7/24"],
    },
    {
      name: "an address without prefix length",
      text: "links: { a: { method: static, address: 192.0.2.7 } }",
      want: [
        "f:1:40: address 192.0.2.7 is not an address with its prefix length from 1 to 32, such as 192.0.2.7/24",
      ],
    },
    {
      name: "prefix length 0",
      text: "links: { a: { method: static, address: 192.0.2.7/0 } }",
      want: [
        "f:1:40: address 192.0.2.7/0 is not an address with its prefix length from 1 to 32, such as 192.0.2.7/24",
      ],
    },
    {
      name: "the network address",
      text: "links: { a: { method: static, address: 192.0.2.0/24 } }",
      want: ["f:1:40: address 192.0.2.0 is the network address of its /24; choose one of a host"],
    },
    {
      name: "the broadcast address as gateway",
      text: "links: { a: { method: static, address: 192.0.2.7/24, gateway: 192.0.2.255 } }",
      want: [
        "f:1:63: gateway 192.0.2.255 is the broadcast address of its /24; choose one of a host",
      ],
    },
    {
      name: "the address as gateway",
      text: "links: { a: { method: static, address: 192.0.2.7/24, gateway: 192.0.2.7 } }",
      want: ["f:1:63: The gateway is the link's own address; it is the router's on that link"],
    },
    {
      name: "loopback",
      text: "links: { a: { method: static, address: 192.0.2.7/24, gateway: 127.0.0.1 } }",
      want: ["f:1:63: gateway 127.0.0.1 is not an address of a host, such as 192.0.2.1"],
    },
    {
      name: "an address with DHCP",
      text: "links: { a: { address: 192.0.2.7/24 } }",
      want: ["f:1:15: method dhcp takes no address; address belongs to method static"],
    },
    {
      name: "DHCP's options with a static address",
      text: "links: { a: { method: static, address: 192.0.2.7/24, rapid_commit: true } }",
      want: ["f:1:54: method static takes no rapid_commit; rapid_commit belongs to method dhcp"],
    },
    {
      name: "a host name for a shell",
      text: "links: { a: { hostname: $(reboot) } }",
      want: ["f:1:25: hostname $(reboot) is not a host name: letters, digits, - and ."],
    },
    {
      name: "a client id of one byte",
      text: "links: { a: { client_id: 01 } }",
      want: [
        "f:1:26: client_id 01 is not 2 to 255 bytes in hexadecimal, such as 01020000000001 or 01:02:00:00:00:00:01",
      ],
    },
    {
      name: "a boolean for conflict detection",
      text: "links: { a: { conflict_detection: true } }",
      want: ["f:1:35: conflict_detection true is not optimistic, strict or off"],
    },
    {
      name: "conflict detection with a static address",
      text: "links: { a: { method: static, address: 192.0.2.7/24, conflict_detection: off } }",
      want: [
        "f:1:54: method static takes no conflict_detection; conflict_detection belongs to method dhcp",
      ],
    },
    {
      name: "a match by two things",
      text: "links: { a: { match: { path: 1-1, mac: 02:00:00:00:00:01 } } }",
      want: ["f:1:15: match has one key: path (the bus path) or mac (the permanent MAC)"],
    },
    {
      name: "one MAC in two entries",
      text: "links:\n  a: { match: { mac: 02:00:00:00:00:01 } }\n  b: { match: { mac: 02:00:00:00:00:01 } }",
      want: ["f:3:15: b: a (line 2) matches 02:00:00:00:00:01 already; one entry has to go"],
    },
    {
      name: "one static address twice under unique",
      text: "unique: true\nlinks:\n  a: { method: static, address: 192.0.2.7/24 }\n  b: { method: static, address: 192.0.2.7/25 }",
      want: ["f:4:33: b: unique is true, and 192.0.2.7 already belongs to a (line 3)"],
    },
    {
      name: "links as a list",
      text: "links: [eth0]",
      want: [
        "f:1:1: links has to be a mapping from a link's name to its settings, such as eth0: { metric: 10 }",
      ],
    },
    {
      name: "an entry that is a word",
      text: "links: { eth0: dhcp }",
      want: [
        "f:1:16: dhcp stands where keys belong: mode, method, metric, match, address, gateway, hostname, client_id, vendor_class, rapid_commit, conflict_detection",
      ],
    },
    {
      name: "a control character",
      text: "links:\n  a\x1b[31m: {}",
      want: ["f:2:4: The control character U+001B has no place here; remove it"],
    },
    {
      name: "an escaped control character",
      text: 'links: { "\\e[31m": {} }',
      want: ["f:1:10: The control character U+001B has no place here; remove it"],
    },
    {
      name: "what is not UTF-8",
      text: "links: \ufffd",
      want: ["f:1:8: A byte that is not UTF-8 has no place here; remove it"],
    },
    {
      name: "tags",
      text: "unique: !!bool true",
      want: ["f:1:9: Not valid YAML: Unresolved tag: tag:yaml.org,2002:bool"],
    },
    {
      name: "a second document",
      text: "unique: true\n---\nunique: false",
      want: ["f:2:1: Not valid YAML: a second document begins here; only one is read"],
    },
    {
      name: "an alias of itself",
      text: "links: &a { b: *a }",
      want: ["f:1:16: *a has no anchor before it; write the value out"],
    },
    {
      name: "tabs",
      text: "links:\n\teth0: {}",
      want: ["f:2:1: Not valid YAML: Tabs are not allowed as indentation"],
    },
    {
      name: "256 KiB and more",
      text: `#${"x".repeat(262_144)}`,
      want: ["f:1:1: The file has 262145 characters; at most 262144 are read"],
    },
    {
      name: "bottomless nesting",
      text: "a: {b: {c: {d: {e: {f: {g: {h: {i: {j: 1}}}}}}}}}",
      want: [
        "f:1:1: Unknown key a; known are links, default, unique, on_stop, legacy_broadcast",
        "f:1:33: Nested too deeply; nothing here has more than three levels",
      ],
    },
    {
      name: "MULTI's metric 33",
      text: "a: { proto: other, metric: 33 }",
      want: ["f:1:28: metric 33 is not a whole number from 1 to 32"],
    },
    {
      name: "MULTI's file with a link without proto",
      text: "a: { proto: other }\nb: { metric: 1 }",
      want: ["f:2:1: b has no proto; MULTI's file needs static, other or ignore"],
    },
    {
      name: "MULTI's static without netmask",
      text: "a: { proto: static, address: 192.0.2.7 }",
      want: ["f:1:1: a is static and needs both address and netmask"],
    },
    {
      name: "MULTI's netmask with a hole",
      text: "a: { proto: static, address: 192.0.2.7, netmask: 255.0.255.0 }",
      want: ["f:1:50: netmask 255.0.255.0 is not a netmask such as 255.255.255.0"],
    },
    {
      name: "MULTI's address without static",
      text: "a: { proto: other, address: 192.0.2.7 }",
      want: ["f:1:20: proto other takes no address; it belongs to proto static"],
    },
  ];
  for (const { name, text, want } of refused) {
    test(`refuses ${name}`, () => assert.deepEqual(problemsOf(text), want));
  }

  test("reports every problem at once, in the order of the file", () => {
    const text = "unique: 1\nlinks:\n  a: { metric: x, mode: y }\n  b: { gateway: 192.0.2.1 }\n";
    assert.deepEqual(problemsOf(text), [
      "f:1:9: unique 1 is not true or false",
      "f:3:16: metric x is not a whole number from 1 to 9999",
      "f:3:25: mode y is not manage, observe or ignore",
      "f:4:8: method dhcp takes no gateway; gateway belongs to method static",
    ]);
  });

  test("stops counting problems at 50 and says how many are left", () => {
    const text = Array.from({ length: 60 }, (_, index) => `key${index}: 1`).join("\n");
    const problems = problemsOf(text);
    assert.equal(problems.length, 51);
    assert.equal(problems.at(-1), "f:50:1: 10 more problems after this one");
  });

  test("carries the offending value, shortened", () => {
    const result = parseConfig(`unique: ${"x".repeat(100)}`, "f");
    assert.ok(!result.ok);
    assert.equal(result.error[0]?.value, `${"x".repeat(39)}…`);
  });
});

describe("parseConfig, whatever comes", () => {
  function assertSound(text: string): boolean {
    const result = parseConfig(text, "f");
    if (result.ok) return true;
    assert.ok(result.error.length > 0);
    const lines = text.split("\n");
    for (const { line, column } of result.error) {
      assert.ok(line >= 1 && line <= lines.length, `line ${line} of ${lines.length}`);
      assert.ok(column >= 1 && column <= (lines[line - 1] ?? "").length + 1, `column ${column}`);
    }
    return false;
  }

  test("any text is read or refused at a place inside it", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => void assertSound(text)),
    );
  });

  test("any sequence of YAML's own characters and our words is, too", () => {
    const words = [
      "links",
      "metric",
      "static",
      "eth0",
      "address",
      "192.0.2.7/24",
      "proto",
      "match",
    ];
    const marks = [
      ": ",
      "\n",
      "\n  ",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "!!x ",
      "'",
      '"',
      "- ",
      "? ",
      "|",
      ">",
      "%",
      "#",
      ",",
      "---\n",
      "\t",
      "<<",
    ];
    const piece = fc.constantFrom(...words, ...marks);
    const text = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, (sample) => void assertSound(sample)),
      { numRuns: 2000 },
    );
  });

  test("1,000 broken copies of the examples are, too, and most are refused", () => {
    const sources = [exampleOf("mnm.yaml"), exampleOf("multi.yaml")];
    let state = 1;
    const random = (limit: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return (state >>> 8) % limit;
    };
    const breaks = ["", "{", "}", ":", "\t", "\0", "&x ", "*x", "\n", "0", "é", "'", "metric: 1\n"];
    let refusals = 0;
    for (let round = 0; round < 1000; round++) {
      let text = sources[round % 2] ?? "";
      for (let edit = 0; edit < 4; edit++) {
        const at = random(text.length);
        text =
          text.slice(0, at) + (breaks[random(breaks.length)] ?? "") + text.slice(at + random(4));
      }
      if (!assertSound(text)) refusals++;
    }
    assert.ok(refusals > 500, `${refusals} refused`);
  });

  test("the worst of a full-size file is answered soon", () => {
    const bombs = ["[", "{a: ", "- ", "? ", "&a ", "a:\n", "%A\n", "*a\n", "'", "  a: {}\n"];
    for (const bomb of bombs) {
      const text = `links:\n${bomb.repeat(250_000 / bomb.length)}`;
      const start = process.hrtime.bigint();
      parseConfig(text, "f");
      const ms = Number(process.hrtime.bigint() - start) / 1e6;
      assert.ok(ms < 10_000, `${JSON.stringify(bomb)}: ${ms} ms`);
    }
  });
});
