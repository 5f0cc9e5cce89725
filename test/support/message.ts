/** Some fields of a message, at any depth; the rest are its defaults. */
export type Fields<T> = T extends Uint8Array | bigint
  ? T
  : T extends (infer Element)[]
    ? readonly Fields<Element>[]
    : T extends object
      ? { readonly [K in keyof T]?: Fields<T[K]> | undefined }
      : T;

/** Builds a ts-proto message from a few of its fields. */
export function message<T>(
  codec: { fromPartial(object: never): T },
  fields: Fields<NoInfer<T>>,
): T {
  // `fromPartial` takes exactly this; its own type is written for literals alone.
  return codec.fromPartial(fields as never);
}
