import { ok } from "@mnm/proto/net";
import { NetworkManagerService } from "@mnm/proto/network-manager";
import { callFaultSentence } from "./call-fault.js";
import { type Controller, withController } from "./controller.js";
import { ExitCode } from "./exit-code.js";
import { pause, type Session } from "./io.js";
import { formatJson, statusJson } from "./render/json.js";
import { formatPage } from "./render/page.js";
import { statusPage } from "./render/status.js";
import { reportCallFault } from "./report.js";
import { statusOf } from "./status-of.js";

/** Events come in bursts: one drawing for all of a hot-plug. */
const BURST_MS = 100;

/** So that durations go on. */
const REDRAW_MS = 10_000;

const RETRY_MS = 1000;

const CLEAR_SCREEN = "\x1b[H\x1b[2J";

/** Draws the status again after every event, until interrupted. */
export async function watchStatus(session: Session): Promise<ExitCode> {
  const signal = session.io.interruption();
  let hasConnected = false;
  while (!signal.aborted) {
    const result = await withController(session.socket, async (controller) => {
      const drawn = await draw(controller, session);
      if (!drawn.ok) return drawn;
      hasConnected = true;
      return redrawUntilLost(controller, session, signal);
    });
    if (!result.ok) {
      if (!hasConnected) return reportCallFault(session, result.error);
      const sentence = callFaultSentence(result.error);
      session.io.err(formatPage([[`error: ${sentence}; waiting for it`]], false));
      await pause(RETRY_MS, signal);
    }
  }
  return ExitCode.done;
}

async function redrawUntilLost(controller: Controller, session: Session, signal: AbortSignal) {
  let wake = new AbortController();
  let isLost = false;
  const stream = controller.subscribe({ noSnapshot: true }, signal, () => {
    wake.abort();
    return "go-on";
  });
  const ended = stream.then(() => {
    isLost = true;
    wake.abort();
  });
  while (!isLost) {
    await pause(REDRAW_MS, wake.signal);
    if (!isLost) await pause(BURST_MS, signal);
    wake = new AbortController();
    if (signal.aborted) break;
    const drawn = await draw(controller, session);
    if (!drawn.ok) return drawn;
  }
  await ended;
  return ok(undefined);
}

async function draw(controller: Controller, { io, json, useColor }: Session) {
  const result = await controller.call(NetworkManagerService.getStatus, {});
  if (!result.ok) return result;
  const status = statusOf(result.value);
  if (json) io.out(formatJson(statusJson(status), "line"));
  else io.out((io.isTerminal ? CLEAR_SCREEN : "") + formatPage(statusPage(status), useColor));
  return ok(undefined);
}
