/** An authorization service: it says what the path's last segment asks for, and keeps what it was asked. */
import net from "node:net";

export interface AuthzServer {
  readonly port: number;
  /** Heads, with bodies, since the last call; fields sorted. */
  takeQuestions(): readonly (readonly string[])[];
  close(): void;
}

const say = (status: string, body: string, ...fields: readonly string[]): string =>
  [`HTTP/1.1 ${status}`, `content-length: ${body.length}`, ...fields, "", body].join("\r\n");

/** By the path's last segment; 200 for all others. Undefined: no answer. */
const answers: Readonly<Record<string, string | undefined>> = {
  denied: say(
    "403 Forbidden",
    "go away",
    "x-reason: rude",
    "x-other: 1",
    "content-type: text/html",
  ),
  login: say(
    "302 Found",
    "",
    "location: https://login.test/",
    "set-cookie: a=1",
    "set-cookie: b=2",
  ),
  unauthorized: say("401 Unauthorized", "who?", "www-authenticate: Basic realm=x"),
  created: say("201 Created", ""),
  empty: say("204 No Content", "").replace("content-length: 0\r\n", ""),
  fails: say("500 Internal Server Error", "oops"),
  busy: say("503 Service Unavailable", "", "x-reason: busy"),
  early: say("301 Moved Permanently", "", "location: /x"),
  user: say("200 OK", "ignored", "x-user: alice", "x-user-id: 7", "x-none: 1", "cookie: session=1"),
  groups: say("200 OK", "", "x-groups: a", "x-groups: b"),
  removes: say("200 OK", "", "x-envoy-auth-headers-to-remove: x-sent, x-secret,,host, :path"),
  tells: say("200 OK", "", "x-told: yes", "set-cookie: a=1", "set-cookie: b=2", "x-untold: 1"),
  meta: say("200 OK", "", "x-meta-a: one"),
  reroutes: say("200 OK", "", "x-user-route: 1"),
  "speaks-smtp": "SMTP ready\r\n\r\n",
  "says-nothing": undefined,
};

export async function startAuthzServer(): Promise<AuthzServer> {
  let wavering = 0;
  let questions: (readonly string[])[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let received = "";
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      for (;;) {
        const end = received.indexOf("\r\n\r\n");
        const length = Number(/^content-length: *(\d+)/im.exec(received.slice(0, end))?.[1] ?? 0);
        if (end < 0 || received.length < end + 4 + length) return;
        const [first = "", ...fields] = received.slice(0, end).split("\r\n");
        const body = received.slice(end + 4, end + 4 + length);
        received = received.slice(end + 4 + length);
        questions.push([first, ...fields.map(mask).toSorted(), ...(body === "" ? [] : [body])]);
        const path = first.split(" ", 2)[1] ?? "";
        const name = path.split("?", 1)[0]?.split("/").at(-1) ?? "";
        if (name === "hangs-up") socket.destroy();
        else if (name === "wavers" && wavering++ % 2 === 0) socket.write(answers["busy"] ?? "");
        else if (name === "late") setTimeout(() => void socket.write(say("200 OK", "")), 300);
        else if (!Object.hasOwn(answers, name)) socket.write(say("200 OK", ""));
        else if (answers[name] !== undefined) socket.write(answers[name]);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    port: address.port,
    takeQuestions() {
      const taken = questions;
      questions = [];
      return taken;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Names in lower case; addresses and times are never the same twice. */
function mask(field: string): string {
  const colon = field.indexOf(":");
  const name = field.slice(0, colon).toLowerCase();
  const value = field.slice(colon + 1).trim();
  return name === "x-forwarded-for" ? `${name}: ADDRESS` : `${name}: ${value}`;
}
