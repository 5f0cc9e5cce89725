/** Codes of problems with VirtualServices. */
export const virtualServiceCodes: Readonly<Record<string, string>> = {
  "virtualservice.weights": "Weights of a route do not add up to 100, or to nothing.",
  "virtualservice.uri-without-slash": "A path match that no path can satisfy.",
  "virtualservice.host-not-found": "A destination is no service of the mesh.",
  "virtualservice.port-not-found": "A destination's service has no such port.",
  "virtualservice.subset-not-found": "No DestinationRule defines the subset.",
  "virtualservice.gateway-not-found": "No Gateway has this name.",
  "virtualservice.host-not-offered": "The Gateway offers none of the hosts.",
  "virtualservice.unknown-host":
    "The host is no service, so callers in the mesh do not reach it by name.",
  "virtualservice.duplicate-host":
    "Two VirtualServices route the same host for callers in the mesh.",
  "virtualservice.unreachable-route": "An earlier route takes everything.",
  "virtualservice.sni-host": "A name that clients ask for is none of the hosts, nor below one.",
  "virtualservice.no-tls-port":
    "There are routes by name of TLS, and no port of the hosts says that it carries TLS.",
  "virtualservice.no-server":
    "The Gateways that it is bound to have no server for routes of this sort.",
};
