import { messageOf } from "../base/error.ts";
import type { GrpcCall, GrpcMethod } from "../net/grpc-server.ts";
import { GrpcError } from "../net/grpc.ts";
import type { Logger } from "../telemetry/logger.ts";
import {
  IstioCertificateRequest,
  IstioCertificateResponse,
} from "../wire/gen/ts/security/v1alpha1/ca.ts";
import { grpcStatus } from "../wire/grpc.ts";
import type { CertificateAuthority, IssuedCertificate } from "./authority.ts";
import type { RequestBudget } from "./request-budget.ts";

/** Istio's certificate service: a certificate request in, a chain out, leaf first and root last. */
export interface CertificateServiceOptions {
  readonly authority: CertificateAuthority;
  /** Who calls; throws `GrpcError` when nobody we know. */
  readonly authenticate: (call: GrpcCall) => CertificateSubject;
  readonly log: Logger;
  readonly onIssued?: (subject: CertificateSubject, certificate: IssuedCertificate) => void;
  readonly onRefused?: (reason: string) => void;
  /** How often each instance may ask. */
  readonly budget: RequestBudget;
  /** A request was refused because its instance asks too often. */
  readonly onLimited?: () => void;
}

export interface CertificateSubject {
  /** `<instance>.<namespace>`. */
  readonly instance: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export const createCertificatePath = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

export function certificateService(options: CertificateServiceOptions): GrpcMethod {
  const { authority, authenticate, log } = options;
  const handle = (request: Uint8Array, call: GrpcCall): Uint8Array => {
    const subject = authenticate(call);
    checkBudget(options, subject);
    const { csr, validityDuration } = decode(request);
    const issued = authority.issueWorkload({
      ...subject,
      csrPem: csr,
      ttlMs: Math.min(Number(validityDuration), maxSeconds) * 1000,
    });
    if ("refusal" in issued) {
      options.onRefused?.(issued.refusal);
      log.warn("certificate refused", { instance: subject.instance, reason: issued.refusal });
      throw new GrpcError(grpcStatus.invalidArgument, issued.refusal);
    }
    const { serial, notAfterMs } = issued;
    const expires = new Date(notAfterMs).toISOString();
    log.info("certificate issued", { instance: subject.instance, serial, expires });
    options.onIssued?.(subject, issued);
    const intermediatePem = issued.chainPem.slice(issued.certificatePem.length);
    const certChain = [issued.certificatePem, intermediatePem, authority.rootPem];
    return IstioCertificateResponse.encode({ certChain }).finish();
  };
  return {
    kind: "unary",
    path: createCertificatePath,
    handle: (request, call) => Promise.try(handle, request, call),
  };
}

/** Before anything of the request is looked at: reading and verifying it is what costs. */
function checkBudget(
  { budget, log, onLimited }: CertificateServiceOptions,
  { instance }: CertificateSubject,
): void {
  const refused = budget.take(instance);
  if (refused === undefined) return;
  onLimited?.();
  const { retryMs, isFirst } = refused;
  // Once, or whoever asks too often would fill the log.
  if (isFirst) log.warn("certificate requests refused: too many", { instance, retryMs });
  throw new GrpcError(
    grpcStatus.resourceExhausted,
    `${instance} asks for certificates too often; ask again in ${retryMs} ms`,
  );
}

const maxSeconds = 10 * 365 * 86_400;

function decode(request: Uint8Array): IstioCertificateRequest {
  try {
    return IstioCertificateRequest.decode(request);
  } catch (error) {
    throw new GrpcError(grpcStatus.invalidArgument, `cannot decode request: ${messageOf(error)}`);
  }
}
