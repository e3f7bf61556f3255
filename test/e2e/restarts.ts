/** A controller that is started again and again, each time in other circumstances. */
import { LinkState, type Status } from "@mnm/proto/network-manager";
import { type Lab, type StartOptions, until } from "../lab/index.js";
import type { Program } from "../lab/program.js";
import { clientOf, statusOf } from "./scenario.js";

/** The status as soon as it is as wanted; the controller may be new or may be starting yet. */
export async function statusWhen(
  lab: Lab,
  isWanted: (status: Status) => boolean,
  what: string,
): Promise<Status> {
  const client = clientOf(lab);
  const look = async () => {
    try {
      const status = await statusOf(client);
      return isWanted(status) && status;
    } catch {
      return false;
    }
  };
  try {
    return await until(look, { timeoutMs: 30_000, what });
  } finally {
    client.close();
  }
}

/** The status as soon as all uplinks of the lab are usable. */
export function usableStatus(lab: Lab): Promise<Status> {
  const usable = ({ links }: Status) =>
    links.filter(({ state }) => state === LinkState.USABLE).length === lab.isps.length;
  return statusWhen(lab, usable, "all uplinks usable");
}

/** Ends the controller, which leaves the kernel as it is, and starts another. */
export async function restarted(
  lab: Lab,
  controller: Program,
  options: StartOptions = {},
): Promise<Program> {
  await controller.stop();
  return await lab.startController(options);
}
