import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import {
  EventKind,
  Fault_Code,
  LinkKind,
  LinkState,
  MetricSource,
  Reason,
} from "@mnm/proto/network-manager";
import { FAULT, LINK, STATUS } from "../testing/fake-controller.js";
import { faultJson, formatJson, linkJson, statusJson } from "./json.js";

describe("formatJson", () => {
  const rows = [
    { name: "bigint as number", fields: { at: 12n }, want: '{"version":1,"at":12}\n' },
    { name: "absent as null", fields: { at: undefined }, want: '{"version":1,"at":null}\n' },
    {
      name: "what terminals obey as escapes",
      fields: { text: "\x1b[2J\x9b\x7f\u202e\u{e0001}" },
      want: '{"version":1,"text":"\\u001b[2J\\u009b\\u007f\\u202e\\udb40\\udc01"}\n',
    },
  ];
  for (const { name, fields, want } of rows) {
    test(name, () => assert.equal(formatJson(fields, "line"), want));
  }

  test("escapes do not change the value", () => {
    const text = "\x1b[2J\x9b\x7f\u202e\u{e0001} ü\n";
    assert.equal(JSON.parse(formatJson({ text }, "pretty")).text, text);
  });
});

/** The names that scripts depend on: adding to these lists is fine, taking away is not. */
describe("fields", () => {
  test("of a status", () => {
    assert.deepEqual(Object.keys(statusJson(STATUS)), [
      "mnm_version",
      "instance",
      "uptime_ms",
      "settled",
      "default_link",
      "last_sequence",
      "helper",
      "config",
      "links",
      "warnings",
      "contended",
    ]);
  });

  test("of a link", () => {
    assert.deepEqual(Object.keys(linkJson(LINK)), [
      "name",
      "ifindex",
      "identity",
      "mac",
      "kind",
      "state",
      "method",
      "admin_up",
      "carrier",
      "slot",
      "table",
      "metric",
      "metric_source",
      "is_default",
      "addresses",
      "gateway",
      "shares_address_with",
      "mtu",
      "since_ms",
      "since_boot_ms",
      "lease",
      "dhcp",
      "fault",
      "contended",
    ]);
  });

  test("of a fault", () => {
    assert.deepEqual(Object.keys(faultJson(FAULT)), [
      "code",
      "text",
      "hint",
      "field",
      "holder",
      "errno",
      "kernel_text",
      "problems",
    ]);
  });
});

test("docs/json.md has every word of the API and every field", () => {
  const document = readFileSync(new URL("../../../docs/json.md", import.meta.url), "utf8");
  const enums = [EventKind, Fault_Code, LinkKind, LinkState, MetricSource, Reason];
  const words = enums.flatMap((values) =>
    Object.entries(values).flatMap(([name, value]) => (value === 0 ? [] : [name.toLowerCase()])),
  );
  const fields = [statusJson(STATUS), linkJson(LINK), faultJson(FAULT)].flatMap(Object.keys);
  const missing = [...words, ...fields].filter((word) => !document.includes(`\`${word}\``));
  assert.deepEqual(missing, []);
});
