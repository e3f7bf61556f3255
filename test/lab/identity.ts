import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";

// No account needs to exist: a uid is a number to the kernel.
const HELPER_ID = 65531;
const CONTROLLER_ID = 65532;

/** As whom the programs run. */
export interface Identities {
  readonly helperUid: number;
  readonly helperGid: number;
  readonly controllerUid: number;
  readonly controllerGid: number;
  /** False where all three are one uid, as in an ordinary user's namespace: then only the
   * capabilities differ, and nothing about file or socket permission is shown. */
  readonly separate: boolean;
}

export function identities(): Identities {
  const separate = isMapped("/proc/self/uid_map") && isMapped("/proc/self/gid_map");
  const helper = separate ? HELPER_ID : 0;
  const controller = separate ? CONTROLLER_ID : 0;
  return {
    helperUid: helper,
    helperGid: helper,
    controllerUid: controller,
    controllerGid: controller,
    separate,
  };
}

function isMapped(file: string): boolean {
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .some(([first = 0, , count = 0]) => first <= HELPER_ID && CONTROLLER_ID < first + count);
}

/** `setpriv` and its arguments for the helper: exactly two capabilities, and no way to more. */
export function helperPrivileges(ids: Identities): readonly string[] {
  const two = "-all,+net_admin,+net_raw";
  return [
    "setpriv",
    ...(ids.separate ? [`--reuid=${ids.helperUid}`, `--regid=${ids.helperGid}`] : []),
    ids.separate ? "--clear-groups" : "--keep-groups",
    `--bounding-set=${two}`,
    `--inh-caps=${two}`,
    `--ambient-caps=${two}`,
    "--no-new-privs",
  ];
}

/** For the controller: no capability, and the helper's group, which may use its socket. */
export function controllerPrivileges(ids: Identities): readonly string[] {
  return [
    "setpriv",
    ...(ids.separate ? [`--reuid=${ids.controllerUid}`, `--regid=${ids.controllerGid}`] : []),
    ids.separate ? `--groups=${ids.helperGid}` : "--keep-groups",
    // Without this a uid 0 would get them all back at exec.
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--no-new-privs",
  ];
}

/** The checkout: the folder with package.json and dist/, seen from test/dist/lab. */
export const REPOSITORY = resolve(import.meta.dirname, "../../..");

/** Whether everybody may pass through all the folders on the way to these files. */
export function isOpen(...files: readonly string[]): boolean {
  return files.every((file) => {
    for (let at = dirname(file); at !== "/"; at = dirname(at)) {
      if ((statSync(at).mode & constants.S_IXOTH) === 0) return false;
    }
    return true;
  });
}

/** The bundle of a program; throws a sentence when it was not built. */
export function programFile(name: string): string {
  const file = `${REPOSITORY}/dist/${name}.js`;
  try {
    accessSync(file, constants.R_OK);
  } catch (cause) {
    throw new Error(`${file} is missing: run "npm run build" first`, { cause });
  }
  return file;
}
