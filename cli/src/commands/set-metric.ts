import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { setMetricPage } from "../render/set-metric.js";
import { answer, reportCallFault } from "../report.js";
import { refuseUsage } from "../usage.js";

export async function setMetric(
  { words, options }: Invocation,
  session: Session,
): Promise<ExitCode> {
  const [link = "", number = ""] = words;
  if (!/^[1-9]\d{0,3}$/.test(number)) {
    const hint = "choose a whole number from 1 to 9999";
    return refuseUsage({ text: `metric ${number} is not possible`, hint }, session.io);
  }
  const result = await callOnce(session.socket, NetworkManagerService.setMetric, {
    link,
    metric: Number(number),
    swap: options.has("swap"),
    persist: options.has("persist"),
  });
  if (!result.ok) return reportCallFault(session, result.error);
  const change = result.value;
  answer(
    session,
    () => setMetricPage(link, change),
    () => ({
      link,
      old_metric: change.oldMetric,
      new_metric: change.newMetric,
      swapped_with: change.swappedWith === "" ? undefined : change.swappedWith,
      old_default_link: change.oldDefaultLink === "" ? undefined : change.oldDefaultLink,
      new_default_link: change.newDefaultLink === "" ? undefined : change.newDefaultLink,
      changes: change.changes,
      persisted: change.persisted,
    }),
  );
  return ExitCode.done;
}
