/**
 * Lets a Node socket read into memory of ours, one block for the whole process, instead of fresh
 * memory for each read: with TLS, Node hands out a new 64 KiB block every few records, and the garbage
 * collector's answer to that cost a fifth of a proxied request. Node offers this for sockets that it
 * makes itself (`onread`); those of a server, and those under TLS, are switched over here through the
 * same fields. A Node that has others reads as before: `readInPlace` says so.
 */
import net from "node:net";

/** The largest read; Node's own reads are as large. */
const blockBytes = 64 * 1024;
const block = Buffer.allocUnsafeSlow(blockBytes);

interface Fields {
  readonly buffer: symbol;
  readonly callback: symbol;
}

let fields: Fields | undefined;
let isProbed = false;

/**
 * From here on the socket tells its bytes to `onBytes` and not by `data`; false when this Node cannot.
 * They are only there during the call: kept bytes turn into zeros after it, where they can be noticed.
 * A paused socket may still tell what had been read before. `onBytes` says whether to go on reading.
 */
export function readInPlace(socket: net.Socket, onBytes: (chunk: Buffer) => boolean): boolean {
  if (!isProbed) {
    isProbed = true;
    fields = findFields();
  }
  const handle: unknown = Reflect.get(socket, "_handle");
  if (fields === undefined || typeof handle !== "object" || handle === null) return false;
  const useUserBuffer: unknown = Reflect.get(handle, "useUserBuffer");
  if (typeof useUserBuffer !== "function") return false;
  const onRead = (length: number): boolean => {
    const goesOn = onBytes(block.subarray(0, length));
    block.fill(0, 0, length);
    return goesOn;
  };
  Reflect.set(socket, fields.buffer, block);
  Reflect.set(socket, fields.callback, onRead);
  Reflect.apply(useUserBuffer, handle, [block]);
  return true;
}

/** Asks a socket that was made with the public option where it keeps it. */
function findFields(): Fields | undefined {
  const callback = (): boolean => true;
  const probe = new net.Socket({ onread: { buffer: block, callback } });
  const symbols = Object.getOwnPropertySymbols(probe);
  const holding = (value: unknown): symbol | undefined =>
    symbols.find((symbol) => Reflect.get(probe, symbol) === value);
  const found = { buffer: holding(block), callback: holding(callback) };
  probe.destroy();
  if (found.buffer === undefined || found.callback === undefined) return undefined;
  return { buffer: found.buffer, callback: found.callback };
}
