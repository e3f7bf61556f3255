/**
 * Writes big-endian fields into a buffer of fixed size.
 *
 * Writing past the end is a bug of the caller and throws: what is sent is built by us, so an
 * encoder must know beforehand that it fits. (CVE-2018-15688 was an append without this check.)
 */
export class ByteWriter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(value: number): this {
    this.#view.setUint8(this.#advance(1), value);
    return this;
  }

  u16(value: number): this {
    this.#view.setUint16(this.#advance(2), value);
    return this;
  }

  u32(value: number): this {
    this.#view.setUint32(this.#advance(4), value);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#advance(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  zeros(length: number): this {
    this.#advance(length);
    return this;
  }

  /** What was written so far, as a copy. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#offset);
  }

  #advance(length: number): number {
    if (length > this.remaining) {
      throw new RangeError(`Cannot write ${length} bytes where ${this.remaining} are left`);
    }
    const at = this.#offset;
    this.#offset += length;
    return at;
  }
}
