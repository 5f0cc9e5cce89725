/** What /proc tells of the processes of a hot restart. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Processor time since its start, in milliseconds; Linux counts in steps of 10. 0 of one that has ended. */
export function cpuMsOf(pid: number): number {
  try {
    const [, fields = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
    const [user, system] = fields.split(" ").slice(11, 13).map(Number);
    return ((user ?? 0) + (system ?? 0)) * 10;
  } catch {
    return 0;
  }
}

/** Of the socket that listens on this port of loopback. Throws where there is none. */
export function listeningInode(port: number): string {
  const place = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const isIt = (fields: readonly string[]): boolean => fields[1] === place && fields[3] === "0A";
  const inode = readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .find(isIt)?.[9];
  if (inode === undefined) throw new Error(`nothing listens on port ${port}`);
  return inode;
}

export function hasSocket(pid: number, inode: string): boolean {
  return readdirSync(`/proc/${pid}/fd`).some((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
    } catch {
      return false; // closed meanwhile
    }
  });
}

/** Those that there are now; none of one that has ended. */
export function childrenOf(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
      .split(" ")
      .filter((child) => child.trim() !== "")
      .map(Number);
  } catch {
    return [];
  }
}
