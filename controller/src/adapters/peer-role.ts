import { readFileSync } from "node:fs";
import { peerCredentials, peerGroups } from "./sys.js";

/** Root and our own user; members of group `mnm-admin`; everybody else. The last may only read. */
export type Role = "owner" | "admin" | "reader";

/** The process at the other end of a unix socket, as it was when it connected. */
export interface Peer {
  readonly uid: number;
  readonly role: Role;
}

/** Members may change things. */
const ADMIN_GROUP = "mnm-admin";
/** The group may be made while we run; a flood of connections must not make us read its file so often. */
const REMEMBERED_MS = 1_000;

/** Tells who is at the other end of a connection. */
export class Peers {
  readonly #nowMs: () => number;
  #admin: { readonly gid: number | undefined; readonly untilMs: number } | undefined;

  constructor(dependencies: { readonly nowMs: () => number }) {
    this.#nowMs = dependencies.nowMs;
  }

  /** Undefined when `fd` is no connected unix socket. */
  of(fd: number): Peer | undefined {
    const credentials = peerCredentials(fd);
    if (credentials === undefined) return undefined;
    const { uid, gid } = credentials;
    if (uid === 0 || uid === process.getuid?.()) return { uid, role: "owner" };
    const admin = this.#adminGroup();
    // SO_PEERCRED knows the primary group only.
    const isAdmin =
      admin !== undefined && (gid === admin || (peerGroups(fd) ?? []).includes(admin));
    return { uid, role: isAdmin ? "admin" : "reader" };
  }

  #adminGroup(): number | undefined {
    const now = this.#nowMs();
    if (this.#admin === undefined || now >= this.#admin.untilMs) {
      this.#admin = { gid: groupId(ADMIN_GROUP), untilMs: now + REMEMBERED_MS };
    }
    return this.#admin.gid;
  }
}

function groupId(name: string): number | undefined {
  try {
    const lines = readFileSync("/etc/group", "utf8").split("\n");
    const [, , id] = lines.map((line) => line.split(":")).find(([group]) => group === name) ?? [];
    return id === undefined ? undefined : Number(id);
  } catch {
    return undefined;
  }
}
