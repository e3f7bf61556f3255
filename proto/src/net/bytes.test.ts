import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";

/** One field: its width in bytes, 1, 2 or 4, or an array of `length`. */
const FIELD = fc.oneof(
  fc.constantFrom({ width: 1 } as const, { width: 2 } as const, { width: 4 } as const),
  fc.record({ width: fc.constant("array" as const), length: fc.nat(300) }),
);
const FIELDS = fc.array(FIELD, { maxLength: 40 });

type Field = typeof FIELD extends fc.Arbitrary<infer F> ? F : never;

const sizeOf = (field: Field) => (field.width === "array" ? field.length : field.width);

describe("ByteWriter", () => {
  function write(writer: ByteWriter, field: Field): void {
    if (field.width === 1) writer.u8(0xab);
    else if (field.width === 2) writer.u16(0xabcd);
    else if (field.width === 4) writer.u32(0xabcd_ef01);
    else writer.bytes(new Uint8Array(field.length).fill(0xab));
  }

  test("writes all of a field or throws, and never beyond its capacity", () => {
    let overflows = 0;
    const property = fc.property(fc.nat(600), FIELDS, (capacity, fields) => {
      const writer = new ByteWriter(capacity);
      let length = 0;
      for (const field of fields) {
        if (length + sizeOf(field) > capacity) {
          overflows += 1;
          assert.throws(() => write(writer, field), RangeError);
        } else {
          length += sizeOf(field);
          write(writer, field);
        }
        assert.equal(writer.length, length);
        assert.equal(writer.remaining, capacity - length);
      }
      assert.equal(writer.finish().length, length);
    });
    fc.assert(property);
    assert.ok(overflows > 50, `${overflows} fields did not fit`);
  });

  test("has zeros where nothing was written, never what was in memory before", () => {
    const written = new ByteWriter(4096).zeros(4096).finish();
    assert.ok(written.every((byte) => byte === 0));
  });
});

describe("ByteReader", () => {
  function read(reader: ByteReader, field: Field): readonly number[] {
    if (field.width === 1) return [reader.u8()];
    if (field.width === 2) return [reader.u16()];
    if (field.width === 4) return [reader.u32()];
    return [...reader.bytes(field.length)];
  }

  /** Reads a field of which `left` bytes are there, none after an overrun; gives whether it was. */
  function readsWell(reader: ByteReader, field: Field, left: number): boolean {
    const isThere = !reader.overrun && sizeOf(field) <= left;
    const bytes = read(reader, field);
    assert.ok(bytes.every((byte) => byte === 0));
    assert.equal(reader.overrun, !isThere);
    assert.equal(reader.remaining, isThere ? left - sizeOf(field) : 0);
    if (field.width === "array") assert.equal(bytes.length, isThere ? field.length : 0);
    return isThere;
  }

  test("gives nothing that lies beyond the end, and says that it was asked to", () => {
    let overruns = 0;
    const property = fc.property(fc.nat(300), FIELDS, (length, fields) => {
      // In the middle of a larger buffer, so that there is something to be read beyond the end.
      const memory = new Uint8Array(2000).fill(0xff);
      const reader = new ByteReader(memory.fill(0, 700, 700 + length).subarray(700, 700 + length));
      let left = length;
      for (const field of fields) {
        if (readsWell(reader, field, left)) left -= sizeOf(field);
        else left = 0;
      }
      if (reader.overrun) overruns += 1;
    });
    fc.assert(property);
    assert.ok(overruns > 20, `${overruns} overruns`);
  });

  test("hands out copies, so that a buffer that is used again changes nothing", () => {
    const memory = Uint8Array.of(1, 2, 3);
    const taken = new ByteReader(memory).bytes(3);
    memory.fill(9);
    assert.deepEqual([...taken], [1, 2, 3]);
  });
});
