import { NetworkManagerService, type Status } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { statusJson } from "../render/json.js";
import { hasUsableLink, isContended, statusPage } from "../render/status.js";
import { answer, reportCallFault } from "../report.js";
import { statusOf } from "../status-of.js";
import { watchStatus } from "../watch.js";

export async function status({ options }: Invocation, session: Session): Promise<ExitCode> {
  if (options.has("watch")) return watchStatus(session);
  const result = await callOnce(session.socket, NetworkManagerService.getStatus, {});
  if (!result.ok) return reportCallFault(session, result.error);
  const host: Status = statusOf(result.value);
  answer(
    session,
    () => statusPage(host),
    () => statusJson(host),
  );
  return exitCodeOf(host);
}

/** The lowest that applies. */
function exitCodeOf(host: Status): ExitCode {
  if (!hasUsableLink(host)) return ExitCode.noUplink;
  return isContended(host) ? ExitCode.contended : ExitCode.done;
}
