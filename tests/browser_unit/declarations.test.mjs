// sono.d.ts declares what sono.js has, and nothing else.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { FakeWebSocket, Page, SonoClient, SonoError, settled } from "./fakes.mjs";

const declarations = readFileSync(new URL("../../sono_client/browser/sono.d.ts", import.meta.url), "utf8");

/** The members of a declared class or interface. */
function declared(name) {
  const [, body] = new RegExp(`^export .*(?:class|interface) ${name}\\b.*\\{\\n([^]*?)^\\}`, "m").exec(declarations);
  return new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[<(:]/gm)].map(([, member]) => member));
}

test("the classes have the members that are declared", () => {
  assert.deepEqual(declared("SonoClient"), new Set(Object.getOwnPropertyNames(SonoClient.prototype)));
  const error = new SonoError("code", "text", true);
  assert.deepEqual(declared("SonoError"), new Set(["constructor", "code", "temporary"]));
  assert.deepEqual([error.code, error.message, error.temporary, error instanceof Error], ["code", "text", true, true]);
  assert.deepEqual([new SonoError("code").message, new SonoError("code").temporary], ["code", false]);
});

test("a room, an event's origin, a status and a gap have the members that are declared", async () => {
  const page = new Page();
  page.open();
  try {
    const sono = new SonoClient("ws://declared.test/ws");
    const [socket] = FakeWebSocket.made;
    const seen = new Map();
    const see = (name) => (about) => seen.set(name, new Set([...(seen.get(name) ?? []), ...Object.keys(about)]));
    sono.onstatus(see("Status"));
    sono.ongap(see("Gap"));
    socket.open("sono.v2");
    const begun = (stream) => ({ stream, at: ["e", 0], recovered: false });
    const streams = [begun("@"), begun("#Home")];
    socket.receiveJson({ type: "welcome", id: "me", key: "k", resumed: false, seq: 0, channel: "Home", streams });
    const joining = sono.join("room", { presence: true });
    socket.receiveJson({ type: "result", stream: "@", at: ["e", 1], re: 1, data: begun("#room") });
    const room = await joining;
    seen.set("Room", new Set(Object.keys(room)));
    room.on("chat", (data, about) => see("About")(about));
    room.onpresence(see("Presence"));
    socket.receiveJson({ type: "event", stream: "#room", at: ["e", 1], event: "chat", data: 1, from: "you" });
    socket.receiveJson({ type: "members", channel: "room", version: 1, members: [["me", null]], count: 1 });
    socket.receiveJson({ type: "gap", stream: "#room", at: ["e", 5] });
    socket.drop();
    sono.close();
    await settled();
    for (const [name, members] of seen) assert.deepEqual(declared(name), members, name);
    assert.equal(seen.size, 5);
  } finally {
    page.close();
  }
});
