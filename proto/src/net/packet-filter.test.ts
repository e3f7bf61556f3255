import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assembleFilter, type FilterStep } from "./packet-filter.js";

const hex = (text: string) => text.replace(/#.*$/gm, "").replace(/\s+/g, "");
const written = (steps: readonly FilterStep[], atEnd: "accept" | "reject") =>
  Buffer.from(assembleFilter(steps, { most: 28, atEnd })).toString("hex");

// struct sock_filter: code, jump if true, jump if false, operand; bpf_asm's words for them.
describe("assembleFilter()", () => {
  test("without a step all or nothing is accepted", () => {
    const ends = "0600 00 00 1c000000 0600 00 00 00000000";
    assert.equal(written([], "accept"), hex(`b100 00 00 00000000 0600 00 00 1c000000 ${ends}`));
    assert.equal(written([], "reject"), hex(`b100 00 00 00000000 0600 00 00 00000000 ${ends}`));
  });

  test("each test jumps to where it leads, and each load has its size", () => {
    const steps: readonly FilterStep[] = [
      ["length", 0, "must-reach", 28],
      ["u8", 9, "must-be", 17],
      ["u16", 6, "must-not-have", 0x3fff],
      ["u32", 0xffff_f004, "must-not-exceed", 2],
      ["udp8", 8, "must-be", 2],
      ["udp16", 2, "must-be", 68],
      ["udp32", 244, "accept-if", 0x6382_5363],
    ];
    assert.equal(
      written(steps, "reject"),
      hex(`b100 00 00 00000000 # ldx 4*([0]&0xf)
           8000 00 00 00000000 # ld len
           3500 00 0e 1c000000 # jge #28, next, reject
           3000 00 00 09000000 # ldb [9]
           1500 00 0c 11000000 # jeq #17, next, reject
           2800 00 00 06000000 # ldh [6]
           4500 0a 00 ff3f0000 # jset #0x3fff, reject, next
           2000 00 00 04f0ffff # ld type
           2500 08 00 02000000 # jgt #2, reject, next
           5000 00 00 08000000 # ldb [x + 8]
           1500 00 06 02000000 # jeq #2, next, reject
           4800 00 00 02000000 # ldh [x + 2]
           1500 00 04 44000000 # jeq #68, next, reject
           4000 00 00 f4000000 # ld [x + 244]
           1500 01 00 63538263 # jeq #0x63825363, accept, next
           0600 00 00 00000000 # ret #0
           0600 00 00 1c000000 # accept: ret #28
           0600 00 00 00000000 # reject: ret #0`),
    );
  });

  test("refuses what a jump could not reach over", () => {
    const many = (count: number) => Array<FilterStep>(count).fill(["u8", 0, "must-be", 0]);
    assert.doesNotThrow(() => written(many(126), "accept"));
    assert.throws(() => written(many(127), "accept"), RangeError);
  });
});
