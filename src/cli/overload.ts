/** What a data plane of this process watches, so that it sheds load instead of being ended. */
import v8 from "node:v8";

import { openProcessMemory } from "../agent/process-memory.ts";
import type { ProcessMemory } from "../base/process-memory.ts";
import { releaseFreed } from "../net/process-memory.ts";
import { defaultOverloadPlan, type MemoryBounds, type ProxyOverload } from "../proxy/overload.ts";
import { collectGarbage } from "./collect-garbage.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

export interface ProcessOverload extends ProxyOverload {
  readonly bounds: MemoryBounds;
}

/** `limit`: bytes, with K, M or G, instead of what the process's cgroup says. Throws where it is no number. */
export function openOverload(limit?: string): ProcessOverload {
  const memory = limit === undefined ? openProcessMemory() : limitedTo(parseBytes(limit));
  const bounds: MemoryBounds = {
    limitBytes: memory.limited?.limitBytes,
    heapLimitBytes: v8.getHeapStatistics().heap_size_limit,
  };
  return { bounds, memory, plan: defaultOverloadPlan(bounds), collectGarbage, releaseFreed };
}

function limitedTo(limitBytes: number): ProcessMemory {
  const memory = openProcessMemory();
  const usedBytes = (): number => memory.anonymousBytes();
  return { anonymousBytes: usedBytes, limited: { limitBytes, usedBytes } };
}

const units: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

function parseBytes(text: string): number {
  const found = /^(\d+)([KMG]?)i?B?$/.exec(text);
  const bytes = Number(found?.[1]) * (units[found?.[2] ?? ""] ?? Number.NaN);
  if (bytes > 0) return bytes;
  throw new CommandFailure(exitCodes.usage, `--memory-limit ${text} is no number of bytes`);
}
