import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { answer, reportCallFault } from "../report.js";

export async function reload(_invocation: Invocation, session: Session): Promise<ExitCode> {
  const result = await callOnce(session.socket, NetworkManagerService.reload, {});
  if (!result.ok) return reportCallFault(session, result.error);
  const { file, dropped } = result.value;
  const what = file === "" ? "there is no file: the defaults are" : `${file} is`;
  answer(
    session,
    () => [[`${what} in force`], ...dropped.map((text) => [`! ${text}`])],
    () => ({ file: file === "" ? undefined : file, dropped }),
  );
  return ExitCode.done;
}
