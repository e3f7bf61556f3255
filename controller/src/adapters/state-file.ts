import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, readJsonFile } from "./json-file.js";

/** 2,000 identities of some 300 bytes, with much room. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * `state.json` in the state directory. What it cannot do costs the memory, never the service: it is
 * reported once until it works again.
 */
export class StateFile {
  readonly #directory: string;
  readonly #path: string;
  readonly #onFault: (text: string) => void;
  #fault: string | undefined;

  constructor(directory: string, onFault: (text: string) => void) {
    this.#directory = directory;
    this.#path = join(directory, "state.json");
    this.#onFault = onFault;
  }

  /** Why the last value was not saved; undefined while that works. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** The JSON value saved last; undefined when there is none. Damaged ones are moved aside. */
  load(): unknown {
    const content = readJsonFile(this.#path, MAX_BYTES);
    if (content.ok) return content.value;
    const { code, text } = content.error;
    if (code === "damaged") this.#moveAside(text);
    else this.#onFault(`Cannot read ${this.#path}: ${text}`);
    return undefined;
  }

  /**
   * Whether the JSON value is saved, and will be there whatever happens to this process from now on.
   * Not synced to the disk, which would take milliseconds on the way to a lease: after a power loss it
   * may be the value before, or damaged, and a boot is the one moment that needs neither the slots
   * nor the settings as found to agree with the kernel.
   */
  save(state: unknown): boolean {
    const text = JSON.stringify(state);
    const temporary = `${this.#path}.new`;
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      rmSync(temporary, { force: true });
      // Exclusively: one that a program that was killed left behind would keep its mode.
      writeFileSync(temporary, text, { mode: 0o600, flag: "wx" });
      renameSync(temporary, this.#path);
      this.#fault = undefined;
      return true;
    } catch (error) {
      this.#report(`Cannot write ${this.#path}: ${messageOf(error)}`);
      removeIfPossible(temporary);
      return false;
    }
  }

  #moveAside(why: string): void {
    const aside = `${this.#path}.damaged`;
    try {
      renameSync(this.#path, aside);
      this.#onFault(`${this.#path} is damaged and was moved to ${aside}: ${why}`);
    } catch (error) {
      this.#onFault(`${this.#path} is damaged: ${why}; it stays: ${messageOf(error)}`);
    }
  }

  #report(text: string): void {
    if (this.#fault === undefined) this.#onFault(text);
    this.#fault = text;
  }
}

/** Half a file on a full disk takes room from others; where it cannot go, it does no harm. */
function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The fault that is reported already says what is wrong there.
  }
}
