import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callFaultSentence } from "../call-fault.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { answer } from "../report.js";
import { statusOf } from "../status-of.js";
import { VERSION } from "../version.js";

/** Not reaching the controller is part of the answer here, not a failure. */
export async function version(_invocation: Invocation, session: Session): Promise<ExitCode> {
  const result = await callOnce(session.socket, NetworkManagerService.getStatus, {});
  const controller = result.ok ? statusOf(result.value) : undefined;
  const problem = result.ok ? "" : callFaultSentence(result.error);
  answer(
    session,
    () => [
      [`mnmctl     ${VERSION}`],
      [`controller ${controller?.version ?? `unknown: ${problem}`}`],
      ...(controller?.helper === undefined ? [] : [[`helper     ${controller.helper.version}`]]),
    ],
    () => ({
      mnmctl_version: VERSION,
      controller_version: controller?.version,
      helper_version: controller?.helper?.version,
    }),
  );
  return ExitCode.done;
}
