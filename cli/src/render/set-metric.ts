import type { SetMetricResponse } from "@mnm/proto/network-manager";
import type { Line } from "./page.js";

/** What `mnmctl set-metric` says: the change, how long it holds, where traffic goes now. */
export function setMetricPage(link: string, answer: SetMetricResponse): readonly Line[] {
  const { oldMetric, newMetric, swappedWith, persisted } = answer;
  const holds = persisted
    ? "kept in the state file"
    : "until restart; --persist writes it to the state file";
  const change =
    oldMetric === newMetric ? `${newMetric}, as before` : `${oldMetric} -> ${newMetric}`;
  const swapped: readonly Line[] =
    swappedWith === "" ? [] : [[`${swappedWith}: metric ${newMetric} -> ${oldMetric}`]];
  return [[`${link}: metric ${change} (${holds})`], ...swapped, [defaultSentence(answer)]];
}

function defaultSentence({ oldDefaultLink, newDefaultLink }: SetMetricResponse): string {
  if (newDefaultLink === "") return "no link is the default";
  if (oldDefaultLink === newDefaultLink) return `default unchanged: ${newDefaultLink}`;
  const stay = oldDefaultLink === "" ? "" : `; existing ones stay on ${oldDefaultLink}`;
  return `new connections use ${newDefaultLink} from now on${stay}`;
}
