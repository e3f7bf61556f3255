// One file per link identity, in `leases/` of the state directory.
import { createHash } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, messageOf, readJsonFile } from "./json-file.js";

/** A lease with all of its options fits into a packet; JSON is some times longer. */
const MAX_BYTES = 64 * 1024;

/** Of the file; the record in it has one of its own. */
const VERSION = 1;

/** Files on their way to their name; only a program that was killed leaves one. */
const TEMPORARY = ".new";

type FaultKind = "read" | "damaged" | "alien" | "write" | "remove";

/** What the file of an identity should become. */
type Change = { readonly kind: "save"; readonly text: string } | { readonly kind: "remove" };

/**
 * Remembered leases. A full disk, a read-only directory or a damaged file costs the memory of a
 * lease, never the service: such things are reported, once per kind until it works again, and never
 * thrown.
 */
export class LeaseStore {
  readonly #directory: string;
  readonly #onFault: (text: string) => void;
  /** Per identity the change that is not finished yet; a later one takes the place of an earlier. */
  readonly #changes = new Map<string, Change>();
  /** Per identity the one writer, so that changes arrive in order. */
  readonly #writers = new Map<string, Promise<void>>();
  readonly #faults = new Map<FaultKind, string>();

  /** `directory` is the state directory. Removes what a program that was killed left there. */
  constructor(directory: string, onFault: (text: string) => void) {
    this.#directory = join(directory, "leases");
    this.#onFault = onFault;
    removeTemporaries(this.#directory);
  }

  /** Why the last lease was not saved; undefined while that works. */
  get fault(): string | undefined {
    return this.#faults.get("write");
  }

  /** The record saved last, as JSON holds it; undefined when there is none that makes sense. */
  load(identity: string): unknown {
    const change = this.#changes.get(identity);
    if (change?.kind === "remove") return undefined;
    if (change?.kind === "save") return fieldsOf(JSON.parse(change.text)).record;
    const path = this.#pathOf(identity);
    const content = readJsonFile(path, MAX_BYTES);
    if (!content.ok) {
      const kind = content.error.code === "damaged" ? "damaged" : "read";
      this.#report(kind, `Cannot read the lease in ${path}: ${content.error.text}`);
      return undefined;
    }
    if (content.value === undefined) return undefined;
    const { version, identity: owner, record } = fieldsOf(content.value);
    if (version === VERSION && owner === identity) return record;
    const what =
      version === VERSION
        ? `it is of another link: ${JSON.stringify(owner)}`
        : `it has version ${JSON.stringify(version)}, not ${VERSION}`;
    this.#report("alien", `Lease in ${path} is not used: ${what}`);
    return undefined;
  }

  /** Returns at once; see {@link LeaseStore.flush}. */
  save(identity: string, record: unknown): void {
    this.#change(identity, {
      kind: "save",
      text: JSON.stringify({ version: VERSION, identity, record }),
    });
  }

  remove(identity: string): void {
    this.#change(identity, { kind: "remove" });
  }

  /** Resolves when all that was asked for is on the disk, or was reported. */
  async flush(): Promise<void> {
    while (this.#writers.size > 0) await Promise.all(this.#writers.values());
  }

  #change(identity: string, change: Change): void {
    this.#changes.set(identity, change);
    if (!this.#writers.has(identity)) this.#writers.set(identity, this.#write(identity));
  }

  async #write(identity: string): Promise<void> {
    // Lets a burst of changes in one turn become one write.
    await Promise.resolve();
    for (;;) {
      const change = this.#changes.get(identity);
      if (change === undefined) break;
      if (change.kind === "save") await this.#writeFile(identity, change.text);
      else await this.#removeFile(identity);
      if (this.#changes.get(identity) === change) this.#changes.delete(identity);
    }
    this.#writers.delete(identity);
  }

  async #writeFile(identity: string, text: string): Promise<void> {
    const path = this.#pathOf(identity);
    const temporary = `${path}${TEMPORARY}`;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await rm(temporary, { force: true });
      // Exclusively: a file of that name would keep its owner and mode.
      const file = await open(temporary, "wx", 0o600);
      try {
        await file.writeFile(text);
        // Else a power loss could leave the new name with no content.
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      this.#faults.delete("write");
    } catch (error) {
      this.#report("write", `Cannot save the lease in ${path}: ${messageOf(error)}`);
      // Half a file on a full disk takes room from those that might fit.
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }

  async #removeFile(identity: string): Promise<void> {
    const path = this.#pathOf(identity);
    try {
      await rm(path);
      this.#faults.delete("remove");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return;
      this.#report("remove", `Cannot remove the lease in ${path}: ${messageOf(error)}`);
    }
  }

  /**
   * Identities are names and bus paths that the kernel or the configuration gave, so any character
   * may be in them: shown as far as it is harmless, and told apart by a hash.
   */
  #pathOf(identity: string): string {
    const shown = identity.replace(/[^A-Za-z0-9:@-]/g, "_").slice(0, 64);
    const hash = createHash("sha256").update(identity).digest("hex").slice(0, 12);
    return join(this.#directory, `${shown}-${hash}.json`);
  }

  #report(kind: FaultKind, text: string): void {
    const isKnown = this.#faults.has(kind);
    this.#faults.set(kind, text);
    if (!isKnown) this.#onFault(text);
  }
}

function removeTemporaries(directory: string): void {
  try {
    for (const name of readdirSync(directory)) {
      if (name.endsWith(TEMPORARY)) rmSync(join(directory, name), { force: true });
    }
  } catch {
    // No directory yet, or none that we may change: reading and saving will tell.
  }
}

function fieldsOf(content: unknown): { version?: unknown; identity?: unknown; record?: unknown } {
  return typeof content === "object" && content !== null ? content : {};
}
