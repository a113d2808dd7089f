// Whatever a server says in sono.v2, the browser client does not throw, and goes on.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { FakeWebSocket, OPEN, Page, SonoClient, settled } from "./fakes.mjs";

const ODD = [null, true, 0, -1, 0.5, 2 ** 60, "", "x", "__proto__", [], [[]], [null], ["e"], ["e", 1, 2], ["e", "1"], {}, { e: 1 }];
const NAMES = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "then", ""];
const PACKETS = [
  { type: "event", stream: "#Home", at: ["e", 1], event: "chat", data: 1, from: "you" },
  { type: "skip", stream: "#Home", at: ["e", 1] },
  { type: "gap", stream: "#Home", at: ["e", 1] },
  { type: "result", stream: "@", at: ["e", 2], re: 1, published: ["e", 1], error: { code: "c", message: "m", temporary: true } },
  { type: "result", stream: "@", at: ["e", 2], re: 1, data: { stream: "#room", at: ["e", 0], recovered: false } },
  { type: "request", stream: "@", at: ["e", 2], id: 1, name: "r", data: 1 },
  { type: "joined", stream: "@", at: ["e", 2], channel: "room", position: ["e", 1], current: true },
  { type: "left", stream: "@", at: ["e", 2], channel: "room", code: "c" },
  { type: "members", channel: "room", version: 1, members: [["me", 1]], count: 1 },
  { type: "presence", channel: "room", version: 1, in: [["me", 1]], out: ["you"], count: 1 },
  { type: "ack", seq: 1 },
  { type: "renew", in: 1 },
  { type: "beat" },
  { type: "error", code: "c", message: "m" },
  { type: "welcome", id: "me", key: "k", resumed: true, seq: 1, channel: "Home", streams: [{ stream: "@", at: ["e", 0], recovered: true }], denied: [{ channel: "room", error: { code: "c", message: "m" } }], beat: 25, limits: {} },
];

/** A packet with each of its values, at each depth, replaced, left out or doubled. */
function* variants(value) {
  yield* ODD;
  if (typeof value !== "object" || value === null) return;
  for (const key of Object.keys(value)) {
    for (const odd of variants(value[key])) {
      const copy = Array.isArray(value) ? [...value] : { ...value };
      copy[key] = odd;
      yield copy;
    }
    if (Array.isArray(value)) continue;
    const { [key]: _, ...less } = value;
    yield less;
  }
}

let page;
let servers = 0;

beforeEach(() => {
  page = new Page();
  page.open();
});

afterEach(() => page.close());

function opened() {
  const sono = new SonoClient(`ws://hostile.test/${++servers}`, { dialect: "v2", token: "t" });
  const socket = FakeWebSocket.made.at(-1);
  socket.open("sono.v2");
  return { sono, socket };
}

function welcomed() {
  const { sono, socket } = opened();
  const streams = ["@", "*", "#Home"].map((stream) => ({ stream, at: ["e", 0], recovered: false }));
  socket.receiveJson({ type: "welcome", id: "me", key: "k", resumed: false, seq: 0, channel: "Home", streams });
  const joining = sono.join("room", { presence: true });
  joining.catch(() => {});
  sono.onrequest("r", () => 1);
  return { sono, socket };
}

function prototypesAreClean() {
  assert.deepEqual(Object.keys(Object.prototype), []);
  assert.equal({}.polluted, undefined);
}

describe("hostile packets", () => {
  for (const packet of PACKETS) {
    test(`1.3: ${packet.type} with anything in any place`, async () => {
      let count = 0;
      for (const variant of variants(packet)) {
        const { sono, socket } = packet.type === "welcome" ? opened() : welcomed();
        socket.receiveJson(variant);
        await null;
        socket.receiveJson(packet);
        assert.equal(socket.readyState, OPEN);
        socket.drop(1000);
        sono.close();
        count++;
      }
      await settled();
      assert.ok(count >= ODD.length);
      assert.deepEqual(page.reported, [], "something threw");
      assert.equal(page.clock.waiting, 0);
      prototypesAreClean();
    });
  }

  test("1.3: a packet with a key of a wrong type changes nothing", async () => {
    const wrong = new Map([
      ["event", { stream: 5, at: ["e"], event: 5, from: 5, data: undefined }],
      ["result", { at: 7, re: "1", published: ["e"], error: "no" }],
      ["joined", { channel: 5, position: ["e", -1], current: "yes" }],
      ["left", { channel: null, code: 5 }],
      ["gap", { stream: {}, at: ["e", 1.5] }],
    ]);
    for (const [type, keys] of wrong) {
      for (const [key, value] of Object.entries(keys)) {
        const { sono, socket } = welcomed();
        const told = [];
        sono.on("chat", ({ message }) => told.push(message));
        for (const hook of ["ongap", "onjoin"]) sono[hook]((about) => told.push(about));
        const packet = PACKETS.find((one) => one.type === type);
        socket.receiveJson({ ...packet, stream: packet.stream, [key]: value });
        socket.receiveJson({ type: "event", stream: "#Home", at: ["e", 1], event: "chat", data: "first" });
        assert.deepEqual(told, ["first"], `${type} ${key}`);
        socket.drop(1000);
      }
    }
    assert.ok(page.warnings.length >= 15);
    await settled();
  });

  test("names of prototypes are names, of streams, events, channels, members and limits", async () => {
    const { sono, socket } = welcomed();
    const got = [];
    for (const name of NAMES) sono.on(name, ({ message }) => got.push(message));
    NAMES.forEach((name, i) => {
      const quoted = JSON.stringify(name);
      socket.receive(`{"type":"event","stream":"*","at":["e",${i + 1}],"event":${quoted},"data":{${quoted}:{"polluted":1}},${quoted}:{"type":"gap"}}`);
      socket.receive(`{"type":${quoted},${quoted}:{"polluted":1}}`);
      socket.receive(`{"${name}":{"type":"gap","stream":"*","at":["e",9]}}`);
      socket.receiveJson({ type: "joined", stream: "@", at: ["e", i + 1], channel: name, position: ["e", 0] });
      socket.receiveJson({ type: "members", channel: name, version: 1, members: [[name, { polluted: 1 }]], count: 1 });
    });
    assert.equal(got.length, NAMES.length);
    assert.deepEqual(page.reported, []);
    socket.drop();
    await page.clock.pass(1000);
    const again = FakeWebSocket.made.at(-1);
    again.open("sono.v2");
    assert.deepEqual(new Set(again.sent[0].joined), new Set(NAMES.filter(Boolean)));
    prototypesAreClean();
  });

  test("a beat of no time, or of years, or of words keeps no timer busy", async () => {
    for (const beat of [0, -5, 1e-9, 1e12, "soon", null]) {
      const { sono, socket } = opened();
      const streams = [{ stream: "@", at: ["e", 0], recovered: false }];
      socket.receiveJson({ type: "welcome", id: "me", key: "k", resumed: false, seq: 0, channel: "Home", streams, beat });
      for (let i = 0; i < 20; i++) {
        await page.clock.pass(900);
        socket.receiveJson({ type: "beat" });
      }
      assert.ok(page.clock.fired < 60, `${beat}: ${page.clock.fired}`);
      page.clock.fired = 0;
      if (socket.readyState === OPEN) socket.drop(1000);
      sono.close();
    }
  });

  test("a message of 16 MiB is looked through, if the server takes it", () => {
    const limits = { maxMessage: 1 << 25 };
    const { sono, socket } = opened();
    const client = new SonoClient("ws://hostile.test/large", { dialect: "classic", limits });
    FakeWebSocket.made.at(-1).open();
    for (const text of ["x", "\\", '"']) client.message(text.repeat(1 << 23));
    assert.throws(() => client.message(`${"\\".repeat(1 << 20)}\ud800`), RangeError);
    assert.equal(FakeWebSocket.made.at(-1).sent.length, 3);
    socket.drop(1000);
    sono.close();
  });
});
