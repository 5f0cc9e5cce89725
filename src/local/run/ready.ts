/** Asks a sidecar whether it is ready (`:15021/healthz/ready`), and a port whether it is open. */
import { connect } from "node:net";

import type { SocketAddress } from "../../base/socket-address.ts";
import { nodeHttp } from "../../net/node-http.ts";

export interface Readiness {
  readonly isReady: boolean;
  /** What it lacks, as the sidecar says it. */
  readonly detail: string;
}

const answerCharactersMax = 512;

export async function askReady({ address, port }: SocketAddress): Promise<Readiness> {
  return await new Promise((resolve) => {
    const request = nodeHttp.get(
      { host: address, port, path: "/healthz/ready", agent: false, timeout: 1000 },
      (response) => {
        let detail = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          if (detail.length < answerCharactersMax) detail += text;
        });
        response.on("error", () => resolve({ isReady: false, detail: "the answer broke off" }));
        response.on("end", () =>
          resolve({ isReady: response.statusCode === 200, detail: detail.trim().slice(0, 200) }),
        );
      },
    );
    request.on("timeout", () => request.destroy(new Error("no answer within 1 s")));
    request.on("error", (error) => {
      const code = "code" in error ? error.code : undefined;
      const detail = code === "ECONNREFUSED" ? "the sidecar does not listen yet" : error.message;
      resolve({ isReady: false, detail });
    });
  });
}

/** Whether a connection is accepted within a second. */
export async function isOpen({ address, port }: SocketAddress): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: 1000 });
    const end = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", end(true));
    socket.once("error", end(false));
    socket.once("timeout", end(false));
  });
}
