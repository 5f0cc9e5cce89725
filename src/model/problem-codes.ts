/** Every code of a problem with configuration, and what it means: the source of docs/errors.md, in its order. */
import { authorizationPolicyCodes } from "./problem-codes/authorization-policy.ts";
import { configCodes } from "./problem-codes/config.ts";
import { destinationRuleCodes } from "./problem-codes/destination-rule.ts";
import { gatewayCodes } from "./problem-codes/gateway.ts";
import { meshConfigCodes } from "./problem-codes/mesh-config.ts";
import { peerAuthenticationCodes } from "./problem-codes/peer-authentication.ts";
import { policyCodes } from "./problem-codes/policy.ts";
import { serviceCodes } from "./problem-codes/service.ts";
import { serviceEntryCodes } from "./problem-codes/service-entry.ts";
import { virtualServiceCodes } from "./problem-codes/virtual-service.ts";
import { yamlCodes } from "./problem-codes/yaml.ts";

export const problemCodes: Readonly<Record<string, string>> = {
  ...yamlCodes,
  ...configCodes,
  ...meshConfigCodes,
  ...virtualServiceCodes,
  ...destinationRuleCodes,
  ...gatewayCodes,
  ...serviceCodes,
  ...serviceEntryCodes,
  ...policyCodes,
  ...peerAuthenticationCodes,
  ...authorizationPolicyCodes,
};
