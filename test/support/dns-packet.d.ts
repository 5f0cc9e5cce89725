/** The part of `dns-packet`, which comes without types, that tests use as another opinion on DNS. */
declare module "dns-packet" {
  export interface Packet {
    readonly type?: "query" | "response";
    readonly id?: number;
    readonly flags?: number;
    readonly questions?: readonly { readonly type: string; readonly name: string }[];
    readonly answers?: readonly object[];
    readonly additionals?: readonly object[];
  }

  export function encode(packet: Packet): Buffer;
  export function decode(bytes: Buffer): Packet;
  export function streamEncode(packet: Packet): Buffer;
  export function streamDecode(bytes: Buffer): Packet;
}
