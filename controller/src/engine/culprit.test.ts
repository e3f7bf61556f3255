import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseLinkName } from "@mnm/proto/net";
import { adviceAbout } from "./culprit.js";

describe("adviceAbout()", () => {
  const name = parseLinkName("wan0");
  const link = name.ok ? name.value : undefined;
  const advice = (program: string) => adviceAbout({ kind: "program", name: program, pid: 7 }, link);

  test("knows what to do about a network manager", () => {
    assert.match(advice("NetworkManager"), /^put interface-name:wan0 into unmanaged-devices/);
  });

  // A program may call itself what it likes, also what every object has.
  for (const program of ["constructor", "toString", "valueOf", "isPrototypeOf", "__proto__", ""]) {
    test(`knows no program by the name "${program}"`, () => {
      assert.equal(advice(program), advice("a stranger"));
      assert.match(advice(program), /^keep that program away from wan0/);
    });
  }
});
