import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PrefixLength } from "@mnm/proto/net";
import type { Operation } from "../reconcile/index.js";
import { ip, makeLink } from "../testing/make.js";
import type { Refusal } from "./messages.js";
import { refusalSentence } from "./refusal-sentence.js";

const OPERATION: Operation = {
  kind: "delete-address",
  link: makeLink(1),
  address: ip("192.0.2.2"),
  length: 24 as PrefixLength,
};
const ATTEMPT = "ip address delete 192.0.2.2/24 dev wan1";
// As helper/src/fault.ts and apply.ts write it.
const REQUEST = "Refused putRoute link=(ifindex=3 name=wan1 mac=020000000001) gateway=192.0.2.2";

function sentenceOf(refusal: Partial<Refusal>): string {
  const all = { code: "not-permitted", field: "", errno: "", kernelText: "", text: "" } as const;
  return refusalSentence(OPERATION, { ...all, ...refusal });
}

describe("refusalSentence()", () => {
  const rules = [
    { field: "gateway", must: "no address of the link itself", isOfFile: false },
    { field: "address", must: "outside of what eth9 holds", isOfFile: false },
    { field: "metric", must: "1 to 9999", isOfFile: false },
    { field: "metric", must: "100 to 999 in main", isOfFile: true },
    { field: "table", must: "7700 to 7999", isOfFile: true },
    { field: "table", must: "another than main", isOfFile: true },
    { field: "link", must: "one of wan*, and not lo", isOfFile: true },
  ];
  for (const { field, must, isOfFile } of rules) {
    test(`says that ${field} must be ${must}, without the request, ${isOfFile ? "and" : "not"} where that is set`, () => {
      const text = `${REQUEST}: ${field} must be ${must}`;
      const hint = isOfFile ? "; see helper.json" : "";
      assert.equal(
        sentenceOf({ field, text }),
        `${ATTEMPT}: the helper does not permit it (${field} must be ${must})${hint}`,
      );
    });
  }

  test("says what was not understood, without the request", () => {
    const text = `${REQUEST}: valid_sec must be at least 1`;
    assert.equal(
      sentenceOf({ code: "malformed", field: "valid_sec", text }),
      `${ATTEMPT}: the helper did not understand it (valid_sec must be at least 1)`,
    );
  });

  test("gives the whole text where it finds no rule in it", () => {
    const text = "the helper refused without saying why";
    assert.equal(
      sentenceOf({ code: "malformed", text }),
      `${ATTEMPT}: the helper did not understand it (${text})`,
    );
  });
});
