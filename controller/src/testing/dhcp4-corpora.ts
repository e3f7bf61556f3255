// Data of other projects and of ours, beside the repository. README.md there says what is what.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";

/** From `controller/dist/testing`, where this runs, to `shared/corpora` beside the repository. */
export const CORPORA = resolve(import.meta.dirname, "../../../../shared/corpora");

/** For `test(name, { skip })`: why the data cannot be had, or false. */
export const withoutCorpora: string | false = existsSync(CORPORA)
  ? false
  : `NOT RUN: there are no corpora at ${CORPORA}`;

export interface CorpusFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Every file below the folder, whatever its format. */
export function corpusFiles(folder = "."): readonly CorpusFile[] {
  const root = join(CORPORA, folder);
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isFile())
    .sort()
    .map((path) => ({ name: relative(CORPORA, path), bytes: new Uint8Array(readFileSync(path)) }));
}
