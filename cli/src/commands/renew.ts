import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { answer, reportCallFault } from "../report.js";

export async function renew({ words }: Invocation, session: Session): Promise<ExitCode> {
  const [link = ""] = words;
  const result = await callOnce(session.socket, NetworkManagerService.renew, { link });
  if (!result.ok) return reportCallFault(session, result.error);
  answer(
    session,
    () => [[`${link}: renewing; mnmctl events shows how it ends`]],
    () => ({ link }),
  );
  return ExitCode.done;
}
