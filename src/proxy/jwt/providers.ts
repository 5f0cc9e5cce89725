/** The providers of a `jwt_authn` filter, with their keys. */
import type {
  JwtAuthentication,
  JwtProvider,
} from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import type { DataSource } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { honouredJwtProvider } from "../config/honoured-auth.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";
import { parseKeySet } from "./keys.ts";
import { Provider } from "./provider.ts";
import { localKeys, RemoteKeys, type RemoteKeysServices } from "./remote-keys.ts";
import type { KeySource } from "./verified-tokens.ts";

export function compileProviders(
  { providers }: JwtAuthentication,
  path: string,
  services: RemoteKeysServices,
): ReadonlyMap<string, Provider> {
  // Maps have no order of their own; Envoy's go by name.
  const entries = Object.entries(providers).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return new Map(
    entries.map(([name, config]) => {
      const place = `${path}.providers[${name}]`;
      honoured(config, honouredJwtProvider, place);
      return [name, new Provider(name, config, keysOf(config, services, place), place)];
    }),
  );
}

function keysOf(config: JwtProvider, services: RemoteKeysServices, path: string): KeySource {
  const { remoteJwks, localJwks } = config;
  if (remoteJwks !== undefined) {
    return new RemoteKeys(remoteJwks, services, `${path}.remote_jwks`);
  }
  if (localJwks === undefined) return refuse(path, "names no keys: local_jwks or remote_jwks");
  const keys = parseKeySet(readSource(localJwks, `${path}.local_jwks`));
  if (keys === undefined || keys.size === 0) {
    return refuse(`${path}.local_jwks`, "is no key set, or has no key that can verify anything");
  }
  return localKeys(keys);
}

/** Files of a bootstrap were read with it. */
function readSource({ inlineString, inlineBytes }: DataSource, path: string): string {
  if (inlineString !== undefined) return inlineString;
  if (inlineBytes !== undefined) return Buffer.from(inlineBytes).toString();
  return refuse(path, "only text, bytes and files of a bootstrap are supported");
}
