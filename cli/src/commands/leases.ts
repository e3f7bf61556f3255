import { NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { leaseJson } from "../render/json.js";
import { leasesPage } from "../render/leases.js";
import { answer, reportCallFault } from "../report.js";

export async function leases(_invocation: Invocation, session: Session): Promise<ExitCode> {
  const result = await callOnce(session.socket, NetworkManagerService.listLinks, { links: [] });
  if (!result.ok) return reportCallFault(session, result.error);
  const { links } = result.value;
  answer(
    session,
    () => leasesPage(links),
    () => ({
      leases: links.flatMap(({ name, lease, dhcp }) =>
        lease === undefined ? [] : [{ link: name, dhcp_state: dhcp?.state, ...leaseJson(lease) }],
      ),
    }),
  );
  return ExitCode.done;
}
