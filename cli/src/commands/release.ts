import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { releasedPage } from "../render/given-up.js";
import { givenUpJson } from "../render/json.js";
import { answer, reportCallFault } from "../report.js";

export async function release({ words }: Invocation, session: Session): Promise<ExitCode> {
  const [link = ""] = words;
  const result = await callOnce(session.socket, NetworkManagerService.release, { link });
  if (!result.ok) return reportCallFault(session, result.error);
  const { givenUp } = result.value;
  answer(
    session,
    () => releasedPage(link, givenUp),
    () => ({ link, given_up: givenUpJson(givenUp) }),
  );
  return ExitCode.done;
}
