import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { bashScript } from "../completion/bash.js";
import { fishScript } from "../completion/fish.js";
import { isShell, SHELLS, type Shell } from "../completion/words.js";
import { zshScript } from "../completion/zsh.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { printable } from "../render/page.js";
import { refuseUsage } from "../usage.js";

/** Somebody has pressed a key and waits. */
const LINKS_DEADLINE_SEC = 1;

const SCRIPTS: Readonly<Record<Shell, () => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Prints the script of a shell, or the names of links, which is what the scripts ask for. */
export async function completion(
  { words: [what] }: Invocation,
  session: Session,
): Promise<ExitCode> {
  if (what === "links") return await linkNames(session);
  if (!isShell(what)) {
    const hint = `choose ${SHELLS.join(", ")}`;
    return refuseUsage({ text: `there is no completion for ${what}`, hint }, session.io);
  }
  session.io.out(SCRIPTS[what]());
  return ExitCode.done;
}

/** One a line. Nothing, and no word of complaint, when the controller is not there. */
async function linkNames({ socket, io }: Session): Promise<ExitCode> {
  const request = { links: [] };
  const options = { deadlineSec: LINKS_DEADLINE_SEC };
  const result = await callOnce(socket, NetworkManagerService.listLinks, request, options);
  const links = result.ok ? result.value.links : [];
  // The kernel allows control characters in names; a shell's line editor does not want them.
  const names = links.map(({ name }) => name).filter((name) => printable(name) === name);
  io.out(names.map((name) => `${name}\n`).join(""));
  return ExitCode.done;
}
