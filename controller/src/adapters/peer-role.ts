import { readFileSync } from "node:fs";
import { peerCredentials, peerGroups } from "./sys.js";

/** Members may change things. */
const ADMIN_GROUP = "mnm-admin";

/**
 * Whether the process at the other end of a unix socket may change things: root, our own user, and
 * members of group `mnm-admin`. Credentials are those of the time when it connected.
 */
export function mayChange(fd: number): boolean {
  const peer = peerCredentials(fd);
  if (peer === undefined) return false;
  if (peer.uid === 0 || peer.uid === process.getuid?.()) return true;
  const admin = groupId(ADMIN_GROUP);
  // SO_PEERCRED knows the primary group only.
  return admin !== undefined && (peer.gid === admin || (peerGroups(fd) ?? []).includes(admin));
}

/** Looked up at each connection: the group may be made while we run. */
function groupId(name: string): number | undefined {
  try {
    const lines = readFileSync("/etc/group", "utf8").split("\n");
    const [, , id] = lines.map((line) => line.split(":")).find(([group]) => group === name) ?? [];
    return id === undefined ? undefined : Number(id);
  } catch {
    return undefined;
  }
}
