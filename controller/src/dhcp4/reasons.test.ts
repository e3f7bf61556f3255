import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { IgnoreReason } from "./index.js";

/** A reason that is missing here does not compile. */
const REASONS: Readonly<Record<IgnoreReason, true>> = {
  "too-short": true,
  "too-long": true,
  "not-a-reply": true,
  "wrong-hardware-type": true,
  "wrong-chaddr": true,
  "bad-cookie": true,
  "options-truncated": true,
  "message-type-missing": true,
  "message-type-unexpected": true,
  "forcerenew-unauthenticated": true,
  "server-id-missing": true,
  "server-id-unusable": true,
  "client-id-wrong": true,
  "not-expected": true,
  "wrong-xid": true,
  "wrong-server": true,
  "rapid-commit-unasked": true,
  "lease-time-missing": true,
  "lease-too-short": true,
  "lease-already-over": true,
  "address-unusable": true,
  "mask-unusable": true,
};

/** The words with hyphens between two marks of a file. */
function wordsOf(file: string, from: string, to: string): readonly string[] {
  const text = readFileSync(new URL(`../../../${file}`, import.meta.url), "utf8");
  const start = text.indexOf(from);
  assert.ok(start >= 0, `${file} has ${from}`);
  const part = text.slice(start + from.length, text.indexOf(to, start));
  return [...new Set(part.match(/[a-z]+(?:-[a-z]+)+/g))].toSorted();
}

const known = Object.keys(REASONS).toSorted();

test("docs/dhcp.md has every reason for refusing a reply, and no other", () => {
  const rows = wordsOf("docs/dhcp.md", "| Reason | Meaning |", "A refused reply is counted");
  assert.deepEqual(rows, known);
});

test("so has the API's description of the counters", () => {
  const proto = "proto/mnm/v1/network_manager.proto";
  assert.deepEqual(wordsOf(proto, "X is one of", "`arp-sent-X`"), known);
});
