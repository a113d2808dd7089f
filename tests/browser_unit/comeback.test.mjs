// How the browser client comes back, in sono.v2: hidden pages, networks that return, tokens, ends.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, test } from "node:test";

import { CLOSED, CLOSING, CONNECTING, FakeWebSocket, OPEN, Page, SonoClient, settled } from "./fakes.mjs";

let page;
let servers = 0;

beforeEach(() => {
  page = new Page();
  page.open();
});

afterEach(() => {
  page.close();
  assert.deepEqual(page.reported, []);
});

const newest = () => FakeWebSocket.made.at(-1);
const WELCOME = {
  type: "welcome",
  id: "me",
  key: "k1",
  resumed: false,
  seq: 0,
  channel: "Home",
  streams: ["@", "*", "#Home"].map((stream) => ({ stream, at: ["e", 0], recovered: false })),
  beat: 10,
};

function open(more) {
  newest().open("sono.v2");
  newest().receiveJson({ ...WELCOME, ...more });
}

function connected(options) {
  const sono = new SonoClient(`ws://example.test/${++servers}`, { dialect: "v2", ...options });
  const states = [];
  sono.onstatus(({ state, retryIn }) => states.push(retryIn === undefined ? state : [state, retryIn]));
  open();
  newest().sent.length = 0;
  return { sono, states };
}

describe("coming back", () => {
  test("8.1: the application is told when", async () => {
    const { sono, states } = connected();
    newest().drop(1001);
    assert.equal(sono.readyState, CONNECTING);
    await page.clock.pass(750);
    assert.equal(FakeWebSocket.made.length, 2);
    open({ resumed: true });
    newest().drop(1012);
    await page.clock.pass(999);
    assert.equal(FakeWebSocket.made.length, 2);
    await page.clock.pass(1);
    assert.equal(FakeWebSocket.made.length, 3);
    const waits = [["waiting", 750], "connecting", "open", ["waiting", 1000], "connecting"];
    assert.deepEqual(states.slice(-5), waits);
  });

  test("8.1: the wait has a bound, however often it fails", async () => {
    connected();
    page.random = 0.999999;
    for (let i = 0; i < 1100; i++) {
      newest().drop();
      const before = FakeWebSocket.made.length;
      await page.clock.pass(20_000);
      assert.equal(FakeWebSocket.made.length, before + 1);
    }
  });

  for (const type of ["online", "pageshow", "visibilitychange"]) {
    test(`a waiting client connects at ${type}, but not before the server lets it (8.2)`, async () => {
      connected();
      newest().drop(1013, "too many clients; retry_after=60");
      page.happens(type);
      await page.clock.pass(59_000);
      page.happens(type);
      assert.equal(FakeWebSocket.made.length, 1);
      page.isHidden = true;
      await page.clock.pass(1000);
      page.isHidden = false;
      page.happens(type);
      assert.equal(FakeWebSocket.made.length, 2);
      newest().drop();
      page.happens(type);
      assert.equal(FakeWebSocket.made.length, 3, "it waits no longer than it must");
    });
  }

  test("8.2: what is no number of seconds, or too many, does not keep it away", async () => {
    for (const [reason, most] of [["retry_after=soon", 20_000], ["retry_after=1.2.3", 20_000], ["retry_after=99999999", 320_000]]) {
      connected();
      newest().drop(1013, reason);
      const before = FakeWebSocket.made.length;
      await page.clock.pass(most);
      assert.ok(FakeWebSocket.made.length > before, reason);
      newest().drop(1000);
    }
  });

  test("4.9: a connection is looked at when the page is shown, or the network returns", async () => {
    for (const type of ["online", "pageshow", "visibilitychange"]) {
      connected();
      const socket = newest();
      page.happens(type);
      assert.deepEqual(socket.sent, [{ type: "beat" }]);
      await page.clock.pass(9000);
      socket.receiveJson({ type: "beat" });
      await page.clock.pass(9000);
      assert.equal(socket.readyState, OPEN);
      page.happens(type);
      await page.clock.pass(10_000);
      assert.equal(socket.readyState, CLOSING, "nothing came");
      newest().drop(1000);
    }
  });

  test("4.9: a hidden page is never given up for a late timer", async () => {
    connected();
    const socket = newest();
    page.isHidden = true;
    for (let i = 0; i < 10; i++) await page.clock.pass(60_000);
    assert.equal(socket.readyState, OPEN);
    page.isHidden = false;
    assert.deepEqual(socket.sent, [{ type: "beat" }]);
    socket.receiveJson({ type: "beat" });
    await page.clock.pass(15_000);
    assert.equal(socket.readyState, OPEN);
    await page.clock.pass(10_000);
    assert.equal(socket.readyState, CLOSING);
  });

  test("a connection that never opens, or is never welcomed, is given up; its late events count no more", async () => {
    const { sono } = connected();
    newest().drop();
    await page.clock.pass(1000);
    const silent = newest();
    await page.clock.pass(30_000);
    assert.equal(silent.readyState, CLOSING);
    await page.clock.pass(2000);
    const second = newest();
    assert.notEqual(second, silent);
    silent.drop(1000);
    second.open("sono.v2");
    await page.clock.pass(30_000);
    assert.equal(second.readyState, CLOSING);
    await page.clock.pass(5000);
    open({ resumed: true });
    second.receiveJson({ type: "event", stream: "#Home", at: ["e", 1], event: "chat", data: 1 });
    assert.equal(sono.readyState, OPEN);
  });
});

describe("tokens", () => {
  test("5.16: a text is said in each hello; a function is asked each time, before the connection", async () => {
    new SonoClient(`ws://example.test/${++servers}`, { token: "t" });
    newest().open("sono.v2");
    assert.equal(newest().sent[0].token, "t");
    const tokens = ["t1", "t2"];
    const before = FakeWebSocket.made.length;
    new SonoClient(`ws://example.test/${++servers}`, { token: async () => tokens.shift() });
    assert.equal(FakeWebSocket.made.length, before);
    await settled();
    newest().open("sono.v2");
    assert.equal(newest().sent[0].token, "t1");
    newest().drop();
    await page.clock.pass(1000);
    newest().open("sono.v2");
    assert.equal(newest().sent[0].token, "t2");
  });

  test("a function that fails is reported, and asked again later", async () => {
    const oops = new Error("no network");
    let calls = 0;
    const token = () => {
      if (++calls < 3) throw oops;
      return calls === 3 ? 7 : "t";
    };
    const sono = new SonoClient(`ws://example.test/${++servers}`, { token });
    assert.equal(sono.readyState, CONNECTING);
    await page.clock.pass(10_000);
    newest().open("sono.v2");
    assert.equal(newest().sent[0].token, "t");
    assert.deepEqual(page.reported.splice(0).map(({ message }) => message), ["no network", "no network", "token must be a string"]);
  });

  test("a client that was closed while it waited for a token does not connect", async () => {
    const sono = new SonoClient(`ws://example.test/${++servers}`, { token: async () => "t" });
    sono.close();
    await settled();
    assert.deepEqual([FakeWebSocket.made.length, sono.readyState, page.clock.waiting], [0, CLOSED, 0]);
  });
});

describe("ends", () => {
  test("5.15: close says bye; what waits is told, and nothing more can be sent", async () => {
    const { sono, states } = connected();
    const codes = [];
    sono.onclose(({ code }) => codes.push(code));
    const outcomes = [sono.publish("Home", "chat", 1), sono.request("r")].map((one) => one.catch(({ code }) => code));
    newest().sent.length = 0;
    sono.close();
    assert.deepEqual(newest().sent, [{ type: "bye" }]);
    assert.throws(() => sono.message(1), /connection is closed/);
    await assert.rejects(sono.grab("myid"), /connection is closed/);
    newest().drop(1000);
    assert.deepEqual(await Promise.all(outcomes), ["unknown", "unknown"]);
    assert.deepEqual([codes, sono.readyState, states.at(-1)], [[1000], CLOSED, "closed"]);
    assert.equal(page.listeners, 0, "the page keeps a client that has ended");
    page.happens("online");
    await page.clock.pass(60_000);
    assert.deepEqual([FakeWebSocket.made.length, page.clock.waiting], [1, 0]);
    sono.close();
    await assert.rejects(sono.join("room"), { code: "closed" });
  });

  test("close ends a client that waits or connects, and what it kept", async () => {
    for (const isWaiting of [true, false]) {
      const { sono } = connected();
      newest().drop();
      const kept = sono.publish("Home", "chat", 1);
      if (!isWaiting) await page.clock.pass(1000);
      const before = FakeWebSocket.made.length;
      sono.close();
      if (!isWaiting) newest().drop();
      await assert.rejects(kept, { code: "not-sent", temporary: true });
      await page.clock.pass(60_000);
      assert.equal(FakeWebSocket.made.length, before);
    }
  });

  test("a callback may end the client whenever it is called", async () => {
    for (const [hook, state] of [["onstatus", "open"], ["onstatus", "waiting"], ["onstatus", "connecting"], ["onsession"], ["ongap"]]) {
      const { sono } = connected();
      await settled();
      sono[hook]((about) => {
        if (!state || about.state === state) sono.close();
      });
      newest().drop();
      await page.clock.pass(1000);
      if (newest().readyState === CONNECTING) open({ streams: [{ stream: "@", at: ["f", 0], recovered: false }] });
      if (newest().readyState < CLOSED) newest().drop(1000);
      const before = FakeWebSocket.made.length;
      await page.clock.pass(60_000);
      assert.deepEqual([FakeWebSocket.made.length, sono.readyState], [before, CLOSED], `${hook} ${state}`);
    }
  });

  test("a callback that throws harms nobody", async () => {
    const { sono } = connected();
    const oops = new Error("oops");
    const throws = () => {
      throw oops;
    };
    for (const hook of ["onstatus", "onsession", "ongap", "onjoin", "onconnection", "onclose"]) sono[hook](throws);
    sono.on("chat", throws);
    const joining = sono.join("room", { presence: true });
    const at = (offset) => ["e", offset];
    newest().receiveJson({ type: "result", stream: "@", at: at(1), re: 1, data: { stream: "#room", at: at(0), recovered: false } });
    const room = await joining;
    for (const hook of ["onpresence", "onleave"]) room[hook](throws);
    room.on("chat", throws);
    room.on("gap", throws);
    newest().receiveJson({ type: "event", stream: "#room", at: at(1), event: "chat", data: 1 });
    newest().receiveJson({ type: "members", channel: "room", version: 1, count: 0 });
    newest().receiveJson({ type: "gap", stream: "#room", at: at(3) });
    newest().receiveJson({ type: "joined", stream: "@", at: at(2), channel: "b", position: at(0) });
    newest().receiveJson({ type: "left", stream: "@", at: at(3), channel: "room", code: "forbidden" });
    newest().drop();
    await page.clock.pass(1000);
    open({ resumed: true });
    newest().drop(1000);
    const reported = page.reported.splice(0);
    assert.ok(reported.length >= 12 && reported.every((error) => error === oops), String(reported.length));
    assert.equal(sono.readyState, CLOSED);
  });
});

describe("what is served", () => {
  const source = readFileSync(new URL("../../sono_client/browser/sono.js", import.meta.url));

  test("it is one module that imports nothing and keeps nothing in the browser", () => {
    assert.doesNotMatch(String(source), /\bimport\b|\brequire\(|\beval\b|Storage\b|cookie|indexedDB/);
  });
});
