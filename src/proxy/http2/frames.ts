/** Where the HTTP/2 connections of a data plane, to clients and to servers, gather their frames. */
import { FrameMemory } from "../../wire/http2-frame-memory.ts";
import type { ProxyContext } from "../context.ts";

const memories = new WeakMap<ProxyContext, FrameMemory>();

export function framesOf(context: ProxyContext): FrameMemory {
  let memory = memories.get(context);
  if (memory === undefined) {
    memory = new FrameMemory(context.turnEnd);
    memories.set(context, memory);
  }
  return memory;
}
