// The browser client in sono.v2: what the transcripts do not say, because it is of browsers or of this API.
// The names of the tests begin with the clause of docs/protocol.md, where there is one.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { CLOSED, CLOSING, CONNECTING, FakeWebSocket, OPEN, Page, SonoClient, SonoError, newPage, settled } from "./fakes.mjs";

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
const url = () => `ws://example.test/${++servers}`;
const begun = (stream, ...at) => ({ stream, at, recovered: false });
const welcome = (more = {}) => ({
  type: "welcome",
  id: "me",
  key: "k1",
  resumed: false,
  seq: 0,
  channel: "Home",
  streams: [begun("@", "s", 0), begun("*", "all", 4), begun("#Home", "home", 7)],
  ...more,
});

/** A server in sono.v2, as a test plays it. */
class Server {
  #own = 0;

  open(more) {
    this.socket = newest();
    this.socket.open("sono.v2");
    this.hello = this.socket.sent.shift();
    if (more !== null) this.socket.receiveJson(welcome(more));
  }

  says(packet) {
    this.socket.receiveJson(packet);
  }

  result(re, more) {
    this.says({ type: "result", stream: "@", at: ["s", ++this.#own], re, ...more });
  }

  /** What came since the last look. */
  heard() {
    return this.socket.sent.splice(0);
  }
}

function connected(options, more) {
  const sono = new SonoClient(url(), options);
  const server = new Server();
  server.open(more);
  return { sono, server };
}

async function joined(options) {
  const { sono, server } = connected();
  const joining = sono.join("room", options);
  server.result(1, { data: begun("#room", "e", 0) });
  server.heard();
  return { sono, server, room: await joining };
}

const event = (offset, data, more) => ({ type: "event", stream: "#room", at: ["e", offset], event: "chat", data, ...more });
const outcome = (promise) => promise.then((value) => ({ value }), ({ code }) => ({ code }));

describe("which dialect", () => {
  test("5.18: the subprotocol is offered; a server that has none is asked again without, once, and remembered", async () => {
    const { SonoClient: Client } = await newPage();
    const sono = new Client("ws://old.test/ws");
    const states = [];
    sono.onstatus(({ state }) => states.push(state));
    sono.message("early");
    assert.deepEqual(newest().args, ["ws://old.test/ws", "sono.v2"]);
    newest().drop();
    assert.deepEqual(newest().args, ["ws://old.test/ws"]);
    newest().open();
    assert.deepEqual(newest().sent, [{ protocol: "message", event: "message", payload: { message: "early" } }]);
    await settled();
    assert.deepEqual([...new Set(states)], ["open"]);
    new Client("ws://old.test/ws");
    assert.deepEqual(newest().args, ["ws://old.test/ws"]);
    new Client("ws://other.test/ws");
    assert.deepEqual(newest().args, ["ws://other.test/ws", "sono.v2"]);
    const { SonoClient: Other } = await newPage();
    new Other("ws://old.test/ws");
    assert.deepEqual(newest().args, ["ws://old.test/ws", "sono.v2"], "it outlives the page");
    assert.equal(page.clock.waiting, 2, "a classic connection has a timer");
  });

  test("5.18: a server that is away is asked both ways each time, and is not taken for an old one", async () => {
    const sono = new SonoClient(url());
    const states = [];
    sono.onstatus(({ state }) => states.push(state));
    for (let round = 0; round < 3; round++) {
      assert.equal(newest().args.length, 2);
      newest().drop();
      assert.equal(newest().args.length, 1);
      newest().drop();
      assert.equal(sono.readyState, CONNECTING);
      await page.clock.pass(20_000);
    }
    assert.equal(newest().args.length, 2);
    newest().open("sono.v2");
    newest().receiveJson(welcome());
    assert.deepEqual(states.slice(-3), ["waiting", "connecting", "open"]);
  });

  test("5.18: a server that spoke it once is never asked without it", async () => {
    const { server } = connected();
    server.socket.drop();
    await page.clock.pass(1000);
    newest().drop();
    await page.clock.pass(2000);
    assert.deepEqual(FakeWebSocket.made.map(({ args }) => args[1]), ["sono.v2", "sono.v2", "sono.v2"]);
  });

  test("5.18: a WebSocket that does not fail speaks classic at once, unless v2 is wanted", () => {
    const sono = new SonoClient(url());
    newest().open();
    sono.message(1);
    assert.equal(newest().sent[0].protocol, "message");
    new SonoClient(url(), { dialect: "v2" });
    newest().open();
    assert.deepEqual([newest().sent, newest().readyState], [[], CLOSING]);
    new SonoClient(url(), { dialect: "v2" });
    newest().drop();
    assert.equal(newest().args.length, 2);
  });

  test("protocols that are offered decide it; options are checked", () => {
    new SonoClient(url(), ["mine", "sono.v2"]);
    assert.deepEqual(newest().args[1], ["mine", "sono.v2"]);
    newest().open("sono.v2");
    assert.equal(newest().sent[0].type, "hello");
    assert.throws(() => new SonoClient(url(), { dialect: "clasic" }), /dialect/);
    assert.throws(() => new SonoClient(url(), { token: 7 }), /token/);
  });

  test("what one client was told to speak is not remembered of the server", async () => {
    const address = url();
    for (const options of [{ dialect: "classic" }, "mine"]) {
      new SonoClient(address, options);
      newest().open();
    }
    new SonoClient(address);
    assert.deepEqual(newest().args, [address, "sono.v2"]);
  });

  test("what classic cannot do is refused after the fall back, and the rest goes out in order", async () => {
    const sono = new SonoClient(url());
    const outcomes = [sono.join("room"), sono.publish("room", "chat", 1), sono.request("r")].map(outcome);
    const refused = [];
    sono.on("error", (error) => refused.push(error));
    sono.changeChannel("news");
    sono.broadcast("hi");
    const list = sono.grab("myid");
    newest().drop();
    newest().open();
    assert.deepEqual(newest().sent.map(({ protocol }) => protocol), ["changeChannel", "broadcast", "grab"]);
    newest().receiveJson({ protocol: "grab", payload: { type: "myid", message: ["me"] } });
    assert.deepEqual(await list, ["me"]);
    assert.deepEqual(await Promise.all(outcomes), Array(3).fill({ code: "unsupported" }));
    assert.deepEqual(await outcome(sono.leave("room")), { code: "unsupported" });
    assert.deepEqual(refused, []);
    assert.equal(page.clock.waiting, 0);
  });

  test("a classic connection that ends stays ended, as it always did", () => {
    const sono = new SonoClient(url());
    const codes = [];
    sono.onclose(({ code }) => codes.push(code));
    newest().open();
    newest().drop();
    assert.deepEqual([codes, sono.readyState, page.clock.waiting], [[1006], CLOSED, 0]);
    assert.throws(() => sono.message(1), /connection is closed/);
  });
});

describe("the original client's methods in sono.v2", () => {
  test("they are packets, to the current channel as it is when they are sent", () => {
    const sono = new SonoClient(url());
    const server = new Server();
    sono.message("early");
    server.open();
    sono.message({ a: 1 }, "greet");
    sono.broadcast("hi");
    sono.directmessage("psst", 7);
    sono.changeChannel("news");
    sono.message("there");
    assert.deepEqual(server.heard(), [
      { type: "publish", seq: 1, channel: "Home", event: "message", data: "early" },
      { type: "publish", seq: 2, channel: "Home", event: "greet", data: { a: 1 } },
      { type: "publish", seq: 3, channel: "Home", event: "message", data: "hi", self: false },
      { type: "send", seq: 4, to: "7", event: "message", data: "psst" },
      { type: "move", seq: 5, channel: "news" },
      { type: "publish", seq: 6, channel: "news", event: "message", data: "there" },
    ]);
  });

  test("a refused move leaves the client where it is, and is the event error", async () => {
    const { sono, server } = connected();
    const refused = [];
    sono.on("error", (error) => refused.push(error));
    sono.changeChannel("secret");
    sono.changeChannel("news");
    server.result(1, { error: { code: "forbidden", message: "no" } });
    sono.message(1);
    server.result(2, { data: begun("#news", "n", 3) });
    sono.message(2);
    sono.changeChannel("secret");
    server.result(5, { error: { code: "forbidden", message: "no" } });
    sono.message(3);
    await settled();
    assert.deepEqual(refused, Array(2).fill({ code: "forbidden", message: "no" }));
    const said = server.heard().filter(({ type }) => type === "publish");
    assert.deepEqual(said.map(({ channel }) => channel), ["news", "news", "news"]);
    server.socket.drop();
    await page.clock.pass(1000);
    server.open(null);
    assert.deepEqual(Object.keys(server.hello.streams), ["@", "*", "#news"]);
    assert.equal(server.hello.channel, "news");
  });

  test("grab asks after the moves before it, and is an event", async () => {
    const { sono, server } = connected();
    const events = [];
    sono.on("grab", (payload) => events.push(payload));
    const kinds = ["myid", "mychannel", "channels", "mychannelclients", "clients", "__proto__"];
    const called = [];
    sono.changeChannel("news");
    const lists = kinds.map((kind) => sono.grab(kind, (list) => called.push([kind, list])));
    assert.equal(server.heard().length, 7);
    server.result(1, { data: begun("#news", "n", 0) });
    for (let seq = 2; seq <= 7; seq++) server.result(seq, { data: { channels: ["Home", "news"] } });
    await settled();
    assert.deepEqual(server.heard(), [
      { type: "request", seq: 8, name: "sono.members", timeout: 30, data: { channel: "news" } },
    ]);
    server.result(8, { data: { version: 1, members: [["me", null], ["you", null]], count: 2 } });
    assert.deepEqual(await Promise.all(lists), [
      ["me"],
      ["news"],
      ["Home", "news"],
      ["me", "you"],
      ["invalid grab request"],
      ["invalid grab request"],
    ]);
    assert.deepEqual([called.length, events.length], [6, 6]);
    const failed = sono.grab("channels");
    server.result(9, { error: { code: "failed", message: "oh" } });
    await assert.rejects(failed, SonoError);
  });

  test("events of every stream arrive as the original payload", () => {
    const { sono, server } = connected();
    const got = [];
    sono.on("chat", (payload) => got.push(payload));
    server.says({ type: "event", stream: "#Home", at: ["home", 8], event: "chat", data: 1, from: "you" });
    server.says({ type: "event", stream: "*", at: ["all", 5], event: "chat", data: 2 });
    assert.deepEqual(got, [{ message: 1, from: "you" }, { message: 2 }]);
  });

  test("onconnection is called in each session, onsession at each welcome", async () => {
    const { sono, server } = connected();
    const calls = [];
    sono.onconnection(() => calls.push("connection"));
    sono.onsession(({ id, resumed }) => calls.push([id, resumed]));
    await settled();
    server.socket.drop();
    await page.clock.pass(1000);
    server.open({ resumed: true });
    server.socket.drop();
    await page.clock.pass(2000);
    server.open({ id: "me2" });
    assert.deepEqual(calls, ["connection", ["me", true], "connection", ["me2", false]]);
  });
});

describe("rooms", () => {
  test("2.4: events of the room reach the room, with sender and position, and names are only names", async () => {
    const { sono, server, room } = await joined();
    const got = [];
    room.on("gap", (gap) => got.push(["gap", gap]));
    for (const name of ["chat", "__proto__", "constructor"]) {
      room.on(name, (data, { from, at, offset }) => got.push([name, data, from, at, offset]));
    }
    sono.on("gap", ({ message }) => got.push(["the client", message]));
    server.says(event(1, "a", { from: "you" }));
    server.says(event(2, "b", { event: "__proto__" }));
    server.says(event(3, "c", { event: "constructor", at: ["e", 3] }));
    server.says(event(4, "forged", { event: "gap" }));
    server.says({ type: "gap", stream: "#room", at: ["e", 6] });
    assert.deepEqual(got, [
      ["chat", "a", "you", ["e", 1], 1],
      ["__proto__", "b", undefined, ["e", 2], 2],
      ["constructor", "c", undefined, ["e", 3], 3],
      ["the client", "forged"],
      ["gap", { stream: "#room", from: 5, to: 6 }],
    ]);
    assert.equal({}.polluted, undefined);
  });

  test("3.8: a room is one object, however often it is joined; leaving ends it", async () => {
    const { sono, server, room } = await joined();
    server.says(event(1, "a"));
    const again = sono.join("room");
    server.result(2, { data: begun("#room", "e", 0) });
    assert.equal(await again, room);
    const got = [];
    room.on("chat", (data) => got.push(data));
    server.says(event(1, "a"));
    server.says(event(2, "b"));
    assert.deepEqual(got, ["b"], "its position was set back");
    const leaving = room.leave();
    server.result(3);
    assert.equal(await leaving, undefined);
    server.says(event(3, "c"));
    assert.deepEqual(got, ["b"]);
  });

  test("3.11: history is a request; publish and present are the room's", async () => {
    const { server, room } = await joined();
    const page = { entries: [{ at: ["e", 1], event: "chat", data: 1, from: "you" }], more: false };
    const history = room.history({ before: ["e", 9], limit: 10 });
    const position = room.publish("chat", { text: "hi" }, { self: false });
    room.present({ name: "A" });
    const [asked, said, present] = server.heard();
    assert.deepEqual([asked.name, asked.data], ["sono.history", { before: ["e", 9], limit: 10, channel: "room" }]);
    assert.deepEqual(said, { type: "publish", seq: 3, channel: "room", event: "chat", data: { text: "hi" }, self: false });
    assert.deepEqual(present, { type: "present", seq: 4, channel: "room", data: { name: "A" } });
    server.result(2, { data: page });
    server.result(3, { published: ["e", 1] });
    assert.deepEqual(await history, page);
    assert.deepEqual(await position, ["e", 1]);
  });

  test("5.5: after a resume a snapshot is waited for; in a new session presence is asked for, once", async () => {
    const { server, room } = await joined({ presence: true });
    const seen = [];
    room.onpresence(({ count }) => seen.push([count, [...room.members.keys()]]));
    server.says({ type: "members", channel: "room", version: 1, members: [["me", null]], count: 1 });
    server.socket.drop();
    await page.clock.pass(1000);
    const streams = [...welcome().streams, begun("#room", "e", 0)];
    server.open({ resumed: true, seq: 1, streams });
    server.says({ type: "presence", channel: "room", version: 2, in: [["he", 1]], count: 2 });
    assert.deepEqual([server.heard(), seen.length], [[], 1]);
    server.says({ type: "members", channel: "room", version: 9, members: [["you", 1]], count: 1 });
    assert.deepEqual(seen, [[1, ["me"]], [1, ["you"]]]);
    server.socket.drop();
    await page.clock.pass(2000);
    server.open({ streams });
    assert.deepEqual(server.heard(), [{ type: "join", seq: 1, channel: "room", presence: true }]);
  });

  test("4.8: a hundred changes without their snapshot ask for one; joining again changes nothing", async () => {
    const { sono, server, room } = await joined({ presence: true });
    sono.join("room", { presence: true });
    server.result(2, { data: begun("#room", "e", 0) });
    server.heard();
    const change = (version) => ({ type: "presence", channel: "room", version, in: [["you", version]], count: 2 });
    for (let version = 2; version < 102; version++) server.says(change(version));
    assert.deepEqual(server.heard(), []);
    server.says(change(102));
    server.says(change(103));
    assert.deepEqual(server.heard().map(({ name }) => name), ["sono.members"]);
    server.result(3, { data: { version: 102, members: [["me", null]], count: 1 } });
    await settled();
    assert.deepEqual([...room.members], [["me", null], ["you", 103]]);
  });

  test("2.11: a membership that the server begins or ends is told", async () => {
    const { sono, server } = connected();
    const told = [];
    sono.onjoin((room) => {
      told.push(room.channel);
      room.onleave(({ code }) => told.push(code));
    });
    server.says({ type: "joined", stream: "@", at: ["s", 1], channel: "a", position: ["a", 5] });
    server.says({ type: "joined", stream: "@", at: ["s", 2], channel: "b", position: ["b", 5], current: true });
    server.says({ type: "left", stream: "@", at: ["s", 3], channel: "a", code: "forbidden" });
    assert.deepEqual(told, ["a", "forbidden"]);
    sono.message(1);
    assert.equal(server.heard()[0].channel, "b");
  });
});

describe("requests", () => {
  test("4.7: what a handler returns or throws is the reply; one that throws harms nothing else", async () => {
    const { sono, server } = connected();
    const oops = new Error("a secret of the page");
    sono.onrequest("sum", ([a, b]) => a + b);
    sono.onrequest("later", async () => undefined);
    sono.onrequest("no", () => {
      throw new SonoError("not-now", "ask later", true);
    });
    sono.onrequest("oops", () => {
      throw oops;
    });
    sono.onrequest("odd", () => NaN);
    const names = ["sum", "later", "no", "oops", "odd", "__proto__"];
    names.forEach((name, i) => server.says({ type: "request", stream: "@", at: ["s", i + 1], id: i, name, data: [1, 2] }));
    await settled();
    const replies = new Map(server.heard().map(({ re, data, error }) => [names[re], error ?? data]));
    assert.deepEqual([replies.get("sum"), replies.get("later")], [3, null]);
    assert.deepEqual(replies.get("no"), { code: "not-now", message: "ask later", temporary: true });
    assert.equal(replies.get("oops").code, "failed");
    assert.equal(replies.get("odd").code, "failed");
    assert.equal(replies.get("__proto__").code, "unknown-request");
    assert.ok(!JSON.stringify([...replies]).includes("secret"));
    assert.equal(page.reported[0], oops);
    page.reported.splice(0);
  });

  test("4.7: what another session asked is not answered in this one, whose requests may have the same ids", async () => {
    const { sono, server } = connected();
    const answers = [];
    sono.onrequest("sure", () => new Promise((resolve) => answers.push(resolve)));
    const ask = (at) => server.says({ type: "request", stream: "@", at, id: 1, name: "sure", data: null });
    ask(["s", 1]);
    await settled();
    server.socket.drop();
    answers[0]("the first, while there is no connection");
    await page.clock.pass(1000);
    server.open({ id: "me2" });
    ask(["s", 1]);
    await settled();
    server.socket.drop();
    await page.clock.pass(2000);
    server.open({ id: "me3", streams: [begun("@", "t", 0)] });
    answers[1]("the second, too late");
    ask(["t", 1]);
    await settled();
    answers[2]("the third");
    await settled();
    assert.deepEqual(server.heard(), [{ type: "reply", seq: 1, re: 1, data: "the third" }]);
  });

  test("a request without a reply in time fails, sent or not, and a late reply changes nothing", async () => {
    const { sono, server } = connected();
    const sent = outcome(sono.request("slow", 1, { timeout: 5000 }));
    await page.clock.pass(5000);
    assert.deepEqual(await sent, { code: "timeout" });
    server.result(1, { data: "late" });
    server.socket.drop();
    const unsent = outcome(sono.request("slow", 1, { timeout: 100 }));
    await page.clock.pass(100);
    assert.deepEqual(await unsent, { code: "not-sent" });
    await page.clock.pass(1000);
    server.open({ resumed: true, seq: 1, streams: [begun("@", "s", 1), ...welcome().streams.slice(1)] });
    assert.deepEqual(server.heard(), [], "it was sent although nobody waits");
    for (const timeout of [0, -1, NaN, Infinity, 300_001]) await assert.rejects(sono.request("r", 1, { timeout }), RangeError);
  });
});

describe("the outbox", () => {
  test("it takes 1,000 packets, and the next fails loudly", async () => {
    const { sono, server } = connected();
    for (let i = 0; i < 1000; i++) sono.message(i);
    assert.throws(() => sono.message("one too many"), (error) => error.code === "outbox-full" && error.temporary);
    await assert.rejects(sono.publish("Home", "chat", 1), SonoError);
    server.says({ type: "ack", seq: 1 });
    sono.message("room again");
    assert.throws(() => sono.message("full again"), SonoError);
    server.says({ type: "ack", seq: 1001 });
    for (let i = 0; i < 1000; i++) sono.message(i);
    assert.equal(server.heard().length, 2001);
  });

  test("it takes 1 MiB", () => {
    const { sono, server } = connected();
    const room = (1 << 20) - 2 * JSON.stringify({ type: "publish", event: "message", data: "" }).slice(1).length;
    sono.message("x".repeat(room / 2));
    sono.message("x".repeat(room / 2));
    assert.throws(() => sono.message(""), SonoError);
    server.says({ type: "ack", seq: 1 });
    sono.message("");
  });

  test("what was not sent for 5 minutes fails as such; what was sent is unknown, and goes out with its number", async () => {
    const { sono, server } = connected();
    const sent = outcome(sono.publish("Home", "chat", 1));
    server.heard();
    server.socket.drop();
    const unsent = outcome(sono.publish("Home", "chat", 2));
    await page.clock.pass(299_000);
    const later = sono.publish("Home", "chat", 3);
    await page.clock.pass(1000);
    assert.deepEqual([await sent, await unsent], [{ code: "unknown" }, { code: "not-sent" }]);
    server.open({ resumed: true });
    assert.deepEqual(server.heard().map(({ seq, data }) => [seq, data]), [[1, 1], [2, 3]]);
    server.result(2, { published: ["home", 8] });
    assert.deepEqual(await later, ["home", 8]);
  });

  // The packet's type is what tells: those of joins, moves and leaves are before "p" in the alphabet.
  for (const [change, isLost] of [["join", true], ["move", true], ["leave", true], ["publish", false]]) {
    test(`5.14: after a ${change} of which nobody knows what became the client ${isLost ? "comes back" : "stays"}`, async () => {
      const { sono, server } = connected();
      const changes = {
        join: () => sono.join("room").catch(() => {}),
        move: () => sono.changeChannel("room"),
        leave: () => sono.leave("room").catch(() => {}),
        publish: () => sono.publish("Home", "chat", 1).catch(() => {}),
      };
      changes[change]();
      const [{ seq }] = server.heard();
      server.result(seq, { error: { code: "unknown", message: "its server was lost" } });
      await settled();
      assert.equal(sono.readyState === OPEN, !isLost);
    });
  }

  test("4.3: what was accepted waits for its result as long as that takes", async () => {
    const { sono, server } = connected();
    const position = sono.publish("Home", "chat", 1);
    server.says({ type: "ack", seq: 1 });
    for (let i = 0; i < 40; i++) {
      await page.clock.pass(10_000);
      server.says({ type: "beat" });
    }
    server.result(1, { published: ["home", 8] });
    assert.deepEqual(await position, ["home", 8]);
  });

  test("what a server would refuse is refused at the call, and nothing is sent", async () => {
    const { sono, server } = connected({ limits: { maxName: 5, maxDepth: 3, maxMessage: 200 } });
    const calls = [
      () => sono.publish("Home", "error", 1),
      () => sono.publish("channel", "chat", 1),
      () => sono.publish("Home", "a\u0000b", 1),
      () => sono.publish("Home", "chat", NaN),
      () => sono.publish("Home", "chat", [[[]]]),
      () => sono.publish("Home", "chat", "x".repeat(200)),
      () => sono.publish("Home", "chat", "\ud800"),
      () => sono.send("you", "grab", 1),
      () => sono.join(""),
      () => sono.leave("channel"),
      () => sono.request("a request", 1),
      () => sono.request("r", 2 ** 63),
    ];
    for (const call of calls) await assert.rejects(call(), RangeError);
    for (const wrong of [() => sono.publish("Home", "chat"), () => sono.send(7, "chat", 1), () => sono.join(7)]) {
      await assert.rejects(wrong(), TypeError);
    }
    assert.throws(() => sono.message([[[]]]), RangeError);
    assert.throws(() => sono.onrequest("r"), TypeError);
    assert.deepEqual(server.heard(), []);
  });
});
