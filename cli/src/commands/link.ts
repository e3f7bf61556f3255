import { ok, type Result } from "@mnm/proto/net";
import { type Link, NetworkManagerService } from "@mnm/proto/network-manager";
import type { Invocation } from "../arguments.js";
import type { CallFault } from "../call-fault.js";
import { callOnce } from "../controller.js";
import { ExitCode } from "../exit-code.js";
import type { Session } from "../io.js";
import { linkJson } from "../render/json.js";
import { linksPage } from "../render/link.js";
import { answer, reportCallFault } from "../report.js";

export async function link({ words }: Invocation, session: Session): Promise<ExitCode> {
  const [name] = words;
  const result = name === undefined ? await allLinks(session) : await oneLink(name, session);
  if (!result.ok) return reportCallFault(session, result.error);
  const links = result.value;
  answer(
    session,
    () => linksPage(links),
    () => ({ links: links.map(linkJson) }),
  );
  return ExitCode.done;
}

async function allLinks({ socket }: Session): Promise<Result<readonly Link[], CallFault>> {
  const result = await callOnce(socket, NetworkManagerService.listLinks, { links: [] });
  return result.ok ? ok(result.value.links) : result;
}

/** GetLink rather than a list of one: only it says which links exist when this one does not. */
async function oneLink(
  name: string,
  { socket }: Session,
): Promise<Result<readonly Link[], CallFault>> {
  const result = await callOnce(socket, NetworkManagerService.getLink, { link: name });
  if (!result.ok) return result;
  return ok(result.value.link === undefined ? [] : [result.value.link]);
}
