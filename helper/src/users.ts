import { readFileSync } from "node:fs";

/** A line of /etc/passwd. */
export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** By /etc/passwd alone: other directories would need the network, or NSS's libraries. */
export function userNamed(name: string): User | undefined {
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const entry = lines.map((line) => line.split(":")).find(([first]) => first === name);
  if (entry?.[3] === undefined) return undefined;
  return { name, uid: Number(entry[2]), gid: Number(entry[3]) };
}
