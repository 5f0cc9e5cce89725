/** What policies say of a request beside whether it may pass: for logs, and for filters behind them. */
import { type RBAC, RBAC_Action as Action } from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { RbacVerdict } from "./rbac.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A verdict is one of a few objects, and what is told of each is made once. */
export function shadowTelling(prefix: string): (verdict: RbacVerdict) => Fields {
  const told = new WeakMap<RbacVerdict, Fields>();
  return (verdict) => {
    let fields = told.get(verdict);
    if (fields === undefined) {
      const result = verdict.isAllowed ? "allowed" : "denied";
      fields = {
        [`${prefix}shadow_engine_result`]: result,
        ...(verdict.policy === undefined
          ? {}
          : { [`${prefix}shadow_effective_policy_id`]: verdict.policy }),
      };
      told.set(verdict, fields);
    }
    return fields;
  };
}

const isHinted: Fields = { access_log_hint: true };
const isNotHinted: Fields = { access_log_hint: false };

/** What metadata such a hint is filed under. */
export const logHintNamespace = "envoy.common";

export interface AccessLogHint {
  /** Undefined where nothing is said. */
  fieldsOf(verdict: RbacVerdict): Fields | undefined;
}

/** Of enforced rules whose action is LOG, which let everything pass: whether it shall be logged. */
export function accessLogHint(rules: RBAC | undefined): AccessLogHint | undefined {
  if (rules?.action !== Action.LOG) return undefined;
  return { fieldsOf: ({ policy }) => (policy === undefined ? isNotHinted : isHinted) };
}

/** The same of enforced matchers, where some action is LOG. */
export const matcherLogHint: AccessLogHint = {
  fieldsOf({ policy, isLogged }) {
    if (policy === undefined) return undefined;
    return isLogged === true ? isHinted : isNotHinted;
  },
};
