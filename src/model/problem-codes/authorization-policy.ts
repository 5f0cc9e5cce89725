/** Codes of problems with AuthorizationPolicies. */
export const authorizationPolicyCodes: Readonly<Record<string, string>> = {
  "authorizationpolicy.unknown-key": "A condition names an attribute that does not exist.",
  "authorizationpolicy.bad-service-account": "A text cannot be the name of a service account.",
  "authorizationpolicy.deny-nothing": "A policy that denies has no rule.",
  "authorizationpolicy.http-on-tcp":
    "A rule names attributes of HTTP and holds for a port that speaks TCP.",
};
