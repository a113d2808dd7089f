// The browser client against a WebSocket that the test plays the server of.
// Run with: node --test tests/browser_unit/

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, test } from "node:test";

// The file has the suffix .js and no package.json beside it, so node is told here that it is a module.
const source = readFileSync(new URL("../../sono_client/browser/sono.js", import.meta.url), "utf8");
const { SonoClient } = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);

const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;

class FakeWebSocket extends EventTarget {
  constructor(...args) {
    super();
    this.args = args;
    this.url = String(args[0]);
    this.readyState = CONNECTING;
    this.sent = [];
    this.closedWith = null;
  }

  send(text) {
    assert.equal(this.readyState, OPEN, "send on a socket that is not open");
    this.sent.push(JSON.parse(text));
  }

  close(code, reason) {
    this.readyState = CLOSING;
    this.closedWith = [code, reason];
  }

  // What the server does:

  open() {
    this.readyState = OPEN;
    this.dispatchEvent(new Event("open"));
  }

  receive(data) {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  receiveJson(value) {
    this.receive(JSON.stringify(value));
  }

  drop(code = 1006) {
    this.readyState = CLOSED;
    this.dispatchEvent(new Event("error"));
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason: "", wasClean: code !== 1006 }));
  }
}

const originals = { warn: console.warn, WebSocket: globalThis.WebSocket, reportError: globalThis.reportError };
let warnings, reported;

beforeEach(() => {
  warnings = [];
  reported = [];
  console.warn = (...args) => warnings.push(args);
  globalThis.reportError = (error) => reported.push(error);
  globalThis.WebSocket = FakeWebSocket;
});

afterEach(() => {
  console.warn = originals.warn;
  globalThis.reportError = originals.reportError;
  globalThis.WebSocket = originals.WebSocket;
});

/** A client of the classic dialect, unless it is told otherwise, and its socket. */
function connecting(options = { dialect: "classic" }, ...args) {
  let socket;
  globalThis.WebSocket = class extends FakeWebSocket {
    constructor(...given) {
      super(...given);
      socket = this;
    }
  };
  const sono = new SonoClient("ws://example.test/ws", options, ...args);
  return { sono, socket };
}

function connected() {
  const pair = connecting();
  pair.socket.open();
  return pair;
}

const nextMicrotask = () => new Promise((resolve) => queueMicrotask(resolve));
const grabReply = (type, message) => ({ protocol: "grab", payload: { message, type } });

describe("connecting", () => {
  test("no subprotocol is offered unless asked for", () => {
    assert.deepEqual(connecting().socket.args, ["ws://example.test/ws"]);
    assert.deepEqual(connecting(["a", "b"]).socket.args, ["ws://example.test/ws", ["a", "b"]]);
  });

  test("url and readyState are the socket's", () => {
    const { sono, socket } = connecting();
    assert.equal(sono.url, "ws://example.test/ws");
    assert.equal(sono.readyState, CONNECTING);
    socket.open();
    assert.equal(sono.readyState, OPEN);
    socket.drop();
    assert.equal(sono.readyState, CLOSED);
  });

  test("without a WebSocket the constructor says so", () => {
    globalThis.WebSocket = undefined;
    assert.throws(() => new SonoClient("ws://example.test/ws"), /globalThis\.WebSocket/);
  });

  test("what the WebSocket refuses, the constructor throws", () => {
    globalThis.WebSocket = class {
      constructor() {
        throw new SyntaxError("bad address");
      }
    };
    assert.throws(() => new SonoClient("nonsense"), SyntaxError);
  });

  test("onconnection calls every callback once, on open", () => {
    const { sono, socket } = connecting();
    const calls = [];
    sono.onconnection((...args) => calls.push(["a", args]));
    sono.onconnection(() => calls.push(["b", []]));
    assert.deepEqual(calls, []);
    socket.open();
    assert.deepEqual(calls, [["a", []], ["b", []]]);
  });

  test("onconnection calls soon, not at once, when open already", async () => {
    const { sono } = connected();
    const calls = [];
    sono.onconnection((...args) => calls.push(args));
    assert.deepEqual(calls, []);
    await nextMicrotask();
    assert.deepEqual(calls, [[]]);
  });

  test("onconnection does not call when the connection was open and is no more", async () => {
    const { sono, socket } = connected();
    socket.drop();
    sono.onconnection(() => assert.fail("called"));
    await nextMicrotask();
    assert.deepEqual(reported, []);
  });

  test("onconnection inside onconnection calls once", async () => {
    const { sono, socket } = connecting();
    let calls = 0;
    sono.onconnection(() => sono.onconnection(() => calls++));
    socket.open();
    await nextMicrotask();
    assert.equal(calls, 1);
  });
});

describe("sending", () => {
  test("each method sends the frame of the classic protocol", () => {
    const { sono, socket } = connected();
    sono.message("hi");
    sono.message({ a: 1 }, "greet");
    sono.broadcast([1, null]);
    sono.broadcast(false, "greet");
    sono.directmessage("psst", "id7");
    sono.directmessage("psst", 1001, "greet");
    sono.changeChannel("news");
    sono.grab("clients");
    assert.deepEqual(socket.sent, [
      { protocol: "message", event: "message", payload: { message: "hi" } },
      { protocol: "message", event: "greet", payload: { message: { a: 1 } } },
      { protocol: "broadcast", event: "message", payload: { message: [1, null] } },
      { protocol: "broadcast", event: "greet", payload: { message: false } },
      { protocol: "directmessage", event: "message", payload: { message: "psst", to: "id7" } },
      { protocol: "directmessage", event: "greet", payload: { message: "psst", to: 1001 } },
      { protocol: "changeChannel", payload: { to: "news" } },
      { protocol: "grab", event: "grab", payload: { message: "clients" } },
    ]);
  });

  test("what was sent while connecting goes out on open, in order, before the callbacks", () => {
    const { sono, socket } = connecting();
    sono.onconnection(() => sono.message("third"));
    sono.message("first");
    sono.grab("myid");
    assert.deepEqual(socket.sent, []);
    socket.open();
    assert.deepEqual(socket.sent.map((frame) => frame.payload.message), ["first", "myid", "third"]);
  });

  test("the queue is bounded, and beyond it sending throws", async () => {
    const { sono, socket } = connecting();
    for (let i = 0; i < 1000; i++) sono.message(i);
    assert.throws(() => sono.message("one too many"), /1000 messages wait/);
    await assert.rejects(sono.grab("myid"), /1000 messages wait/);
    socket.open();
    assert.equal(socket.sent.length, 1000);
    assert.equal(socket.sent.at(-1).payload.message, 999);
    sono.message("room again");
    assert.equal(socket.sent.length, 1001);
  });

  for (const [state, end] of [
    ["closing", ({ sono }) => sono.close()],
    ["closed", ({ socket }) => socket.drop()],
  ]) {
    test(`sending throws when the connection is ${state}`, async () => {
      const pair = connected();
      end(pair);
      const { sono, socket } = pair;
      assert.throws(() => sono.message("x"), /connection is closed/);
      assert.throws(() => sono.broadcast("x"), /connection is closed/);
      assert.throws(() => sono.directmessage("x", "id"), /connection is closed/);
      assert.throws(() => sono.changeChannel("x"), /connection is closed/);
      await assert.rejects(sono.grab("myid"), /connection is closed/);
      assert.deepEqual(socket.sent, []);
    });
  }

  test("what JSON cannot carry throws and sends nothing", () => {
    const { sono, socket } = connected();
    const loop = {};
    loop.loop = loop;
    for (const value of [undefined, () => {}, Symbol("s"), 1n, loop]) {
      assert.throws(() => sono.message(value), TypeError);
    }
    assert.deepEqual(socket.sent, []);
  });

  test("names and ids of the wrong type throw and send nothing", async () => {
    const { sono, socket } = connected();
    assert.throws(() => sono.message("x", 7), TypeError);
    assert.throws(() => sono.broadcast("x", null), TypeError);
    assert.throws(() => sono.directmessage("x"), TypeError);
    assert.throws(() => sono.directmessage("x", {}), TypeError);
    assert.throws(() => sono.changeChannel(), TypeError);
    assert.throws(() => sono.on("x"), TypeError);
    assert.throws(() => sono.on(7, () => {}), TypeError);
    assert.throws(() => sono.onconnection("x"), TypeError);
    assert.throws(() => sono.onclose(), TypeError);
    await assert.rejects(sono.grab(), TypeError);
    await assert.rejects(sono.grab("myid", "not a function"), TypeError);
    assert.deepEqual(socket.sent, []);
  });
});

describe("events", () => {
  test("callbacks get the payload as the server sent it", () => {
    const { sono, socket } = connected();
    const got = [];
    sono.on("message", (...args) => got.push(args));
    socket.receiveJson({ protocol: "message", payload: { message: "hi", from: "id7" } });
    socket.receiveJson({ protocol: "message", payload: { message: "all" }, message: "all" });
    socket.receiveJson({ protocol: "other", payload: { message: "no" } });
    assert.deepEqual(got, [[{ message: "hi", from: "id7" }], [{ message: "all" }]]);
    assert.deepEqual(warnings, []);
  });

  test("an event has several callbacks, called in order, each kept once", () => {
    const { sono } = connected();
    const calls = [];
    const a = () => calls.push("a");
    sono.on("x", a);
    sono.on("x", () => calls.push("b"));
    sono.on("x", a);
    sono.trigger("x");
    assert.deepEqual(calls, ["a", "b"]);
  });

  test("off removes one callback, or all of an event", () => {
    const { sono } = connected();
    const calls = [];
    const a = () => calls.push("a");
    sono.on("x", a);
    sono.on("x", () => calls.push("b"));
    sono.on("y", () => calls.push("y"));
    sono.off("x", () => {}); // never added
    sono.off("x", a);
    sono.trigger("x");
    sono.off("x");
    sono.off("never heard of");
    sono.off("never heard of", a);
    sono.trigger("x");
    sono.trigger("y");
    assert.deepEqual(calls, ["b", "y"]);
  });

  test("callbacks may add and remove callbacks while they are called", () => {
    const { sono } = connected();
    const calls = [];
    const once = () => {
      calls.push("once");
      sono.off("x", once);
      sono.on("x", () => calls.push("new"));
    };
    sono.on("x", once);
    sono.on("x", () => calls.push("steady"));
    sono.trigger("x");
    assert.deepEqual(calls, ["once", "steady"]);
    sono.trigger("x");
    assert.deepEqual(calls, ["once", "steady", "steady", "new"]);
  });

  test("trigger gives the payload to callbacks and sends nothing", () => {
    const { sono, socket } = connected();
    const got = [];
    sono.on("x", (payload) => got.push(payload));
    sono.trigger("x", 7);
    sono.trigger("nobody listens", 7);
    assert.deepEqual(got, [7]);
    assert.deepEqual(socket.sent, []);
  });

  test("a callback that throws is reported and stops neither the others nor the client", () => {
    const { sono, socket } = connected();
    const calls = [];
    const oops = new Error("oops");
    sono.on("x", () => {
      throw oops;
    });
    sono.on("x", () => calls.push("second"));
    socket.receiveJson({ protocol: "x", payload: {} });
    socket.receiveJson({ protocol: "x", payload: {} });
    assert.deepEqual(calls, ["second", "second"]);
    assert.deepEqual(reported, [oops, oops]);
  });

  test("without reportError, console.error tells of a callback that throws", (t) => {
    globalThis.reportError = undefined;
    const error = t.mock.method(console, "error", () => {});
    const { sono, socket } = connecting();
    const oops = new Error("oops");
    sono.onconnection(() => {
      throw oops;
    });
    socket.open();
    assert.deepEqual(error.mock.calls.map((call) => call.arguments), [[oops]]);
  });

  test("the server's refusals are the event error, or a warning if nobody listens", () => {
    const { sono, socket } = connected();
    const refusal = { protocol: "error", payload: { code: "unknown_channel", message: "no such channel" } };
    socket.receiveJson(refusal);
    assert.equal(warnings.length, 1);
    assert.deepEqual(warnings[0].slice(1), ["unknown_channel", "no such channel"]);
    const got = [];
    const listener = (payload) => got.push(payload);
    sono.on("error", listener);
    socket.receiveJson(refusal);
    assert.deepEqual(got, [refusal.payload]);
    assert.equal(warnings.length, 1);
    sono.off("error", listener);
    socket.receiveJson(refusal);
    assert.equal(warnings.length, 2);
  });

  for (const [what, data] of [
    ["text that is not JSON", "{nope"],
    ["empty text", ""],
    ["null", "null"],
    ["a number", "7"],
    ["a string", '"message"'],
    ["an array", '[{"protocol":"message","payload":{}}]'],
    ["an object without protocol", '{"payload":{}}'],
    ["a protocol that is no string", '{"protocol":["message"],"payload":{}}'],
    ["a missing payload", '{"protocol":"message"}'],
    ["a payload that is null", '{"protocol":"message","payload":null}'],
    ["a payload that is an array", '{"protocol":"grab","payload":[]}'],
    ["JSON nested deeper than parsers go", "[".repeat(200_000)],
    ["a binary frame (ArrayBuffer)", new ArrayBuffer(4)],
    ["a binary frame (Blob)", new Blob(["{}"])],
  ]) {
    test(`${what} is ignored with a warning`, () => {
      const { sono, socket } = connected();
      const got = [];
      sono.on("message", (payload) => got.push(payload));
      socket.receive(data);
      assert.equal(warnings.length, 1);
      assert.deepEqual(got, []);
      socket.receiveJson({ protocol: "message", payload: { message: "still alive" } });
      assert.deepEqual(got, [{ message: "still alive" }]);
      assert.deepEqual(reported, []);
    });
  }
});

describe("grab", () => {
  test("a list that the server has cut says so", async () => {
    const { sono, socket } = connected();
    const got = [];
    const replies = [sono.grab("clients", (list) => got.push(list)), sono.grab("clients")];
    socket.receiveJson({ protocol: "grab", payload: { message: ["a"], type: "clients", truncated: true } });
    socket.receiveJson(grabReply("clients", ["a"]));
    const [cut, whole] = await Promise.all(replies);
    assert.equal(cut, got[0]);
    assert.deepEqual([cut.truncated, whole.truncated], [true, undefined]);
    assert.deepEqual([...cut], ["a"]);
  });

  test("the promise and the callback get the list", async () => {
    const { sono, socket } = connected();
    const got = [];
    const reply = sono.grab("channels", (list) => got.push(list));
    socket.receiveJson(grabReply("channels", ["Home", "news"]));
    assert.deepEqual(got, [["Home", "news"]]);
    assert.deepEqual(await reply, ["Home", "news"]);
  });

  test("replies are matched by kind, first in, first out", async () => {
    const { sono, socket } = connected();
    const settled = [];
    const ask = (kind, name) => sono.grab(kind).then(([value]) => settled.push(`${name}=${value}`));
    const all = [ask("clients", "a"), ask("myid", "b"), ask("clients", "c"), ask("clients", "d")];
    socket.receiveJson(grabReply("clients", ["1"]));
    socket.receiveJson(grabReply("clients", ["2"]));
    socket.receiveJson(grabReply("myid", ["3"]));
    socket.receiveJson(grabReply("clients", ["4"]));
    await Promise.all(all);
    assert.deepEqual(settled, ["a=1", "c=2", "b=3", "d=4"]);
  });

  test("an unknown kind resolves with what the server says of it", async () => {
    const { sono, socket } = connected();
    const reply = sono.grab("weather");
    socket.receiveJson(grabReply("weather", ["invalid grab request"]));
    assert.deepEqual(await reply, ["invalid grab request"]);
  });

  test("every reply is an event too", () => {
    const { sono, socket } = connected();
    const got = [];
    sono.on("grab", (payload) => got.push(payload));
    socket.receiveJson(grabReply("myid", ["id7"])); // nobody asked: harmless
    assert.deepEqual(got, [{ message: ["id7"], type: "myid" }]);
  });

  test("what has no kind or no list is not a reply", async () => {
    const { sono, socket } = connected();
    const reply = sono.grab("myid");
    socket.receiveJson({ protocol: "grab", payload: { message: ["forged"] } });
    socket.receiveJson({ protocol: "grab", payload: { message: ["forged"], type: ["myid"] } });
    socket.receiveJson({ protocol: "grab", payload: { message: "forged", type: "myid" } });
    socket.receiveJson({ protocol: "message", payload: { message: ["forged"], type: "myid" } });
    socket.receiveJson(grabReply("myid", ["id7"]));
    assert.deepEqual(await reply, ["id7"]);
  });

  test("a callback that throws does not keep the promise from the list", async () => {
    const { sono, socket } = connected();
    const oops = new Error("oops");
    const reply = sono.grab("myid", () => {
      throw oops;
    });
    socket.receiveJson(grabReply("myid", ["id7"]));
    assert.deepEqual(await reply, ["id7"]);
    assert.deepEqual(reported, [oops]);
  });

  test("pending requests of every kind reject when the connection closes", async () => {
    const { sono, socket } = connected();
    const replies = [sono.grab("myid"), sono.grab("clients"), sono.grab("clients")];
    const outcomes = Promise.allSettled(replies);
    socket.drop();
    for (const { status, reason } of await outcomes) {
      assert.equal(status, "rejected");
      assert.match(reason.message, /closed before the reply/);
    }
  });

  test("requests queued while connecting reject when it cannot connect", async () => {
    const { sono, socket } = connecting();
    const outcome = assert.rejects(sono.grab("myid"), /closed before the reply/);
    socket.drop();
    await outcome;
  });

  test("a closed connection is no unhandled rejection for those who gave a callback", async () => {
    const { sono, socket } = connected();
    sono.grab("myid", () => assert.fail("there was no reply"));
    socket.drop();
    await new Promise((resolve) => setImmediate(resolve)); // an unhandled one would fail this test
  });
});

describe("closing", () => {
  test("close passes code and reason on", () => {
    const { sono, socket } = connected();
    sono.close(4000, "bye");
    assert.deepEqual(socket.closedWith, [4000, "bye"]);
    assert.equal(sono.readyState, CLOSING);
  });

  test("onclose callbacks get the event, late ones too, and a throwing one stops none", async () => {
    const { sono, socket } = connected();
    const codes = [];
    sono.onclose(() => {
      throw new Error("oops");
    });
    sono.onclose((event) => codes.push(event.code));
    socket.drop(1001);
    assert.deepEqual(codes, [1001]);
    assert.equal(reported.length, 1);
    sono.onclose((event) => codes.push(event.code));
    assert.deepEqual(codes, [1001]);
    await nextMicrotask();
    assert.deepEqual(codes, [1001, 1001]);
  });

  test("an event named close or open is the application's own", () => {
    const { sono, socket } = connected();
    const got = [];
    sono.onclose(() => got.push("closed"));
    sono.on("close", (payload) => got.push(payload.message));
    sono.on("open", (payload) => got.push(payload.message));
    socket.receiveJson({ protocol: "close", payload: { message: "the shop closes" } });
    socket.receiveJson({ protocol: "open", payload: { message: "the shop opens" } });
    assert.deepEqual(got, ["the shop closes", "the shop opens"]);
    socket.drop();
    assert.deepEqual(got.at(-1), "closed");
  });

  test("messages that arrive while closing are still delivered", () => {
    const { sono, socket } = connected();
    const got = [];
    sono.on("message", (payload) => got.push(payload.message));
    sono.close();
    socket.receiveJson({ protocol: "message", payload: { message: "last" } });
    assert.deepEqual(got, ["last"]);
  });
});

describe("hostile names", () => {
  const NAMES = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf", "then", ""];

  function prototypesAreClean() {
    assert.deepEqual(Object.keys(Object.prototype), []);
    assert.equal({}.polluted, undefined);
    assert.equal(Object.getPrototypeOf({}), Object.prototype);
  }

  for (const name of NAMES) {
    test(`${JSON.stringify(name)} is an event name like any other`, async () => {
      const { sono, socket } = connected();
      socket.receiveJson({ protocol: name, payload: { message: "before anyone listens" } });
      sono.trigger(name, {});
      const got = [];
      const listener = (payload) => got.push(payload.message);
      sono.on(name, listener);
      socket.receiveJson({ protocol: name, payload: { message: "hi" } });
      sono.off(name, listener);
      socket.receiveJson({ protocol: name, payload: { message: "after" } });
      assert.deepEqual(got, ["hi"]);
      const reply = sono.grab(name);
      socket.receiveJson(grabReply(name, ["invalid grab request"]));
      assert.deepEqual(await reply, ["invalid grab request"]);
      assert.deepEqual(reported, []);
      prototypesAreClean();
    });
  }

  test("__proto__ in a frame does not lend it a protocol or a payload", () => {
    const { sono, socket } = connected();
    sono.on("message", () => assert.fail("delivered"));
    socket.receive('{"__proto__":{"protocol":"message","payload":{"message":"x"}}}');
    socket.receive('{"protocol":"message","__proto__":{"payload":{"message":"x"}}}');
    assert.equal(warnings.length, 2);
    prototypesAreClean();
  });

  test("ten thousand frames of hostile keys at every level change nothing outside", async () => {
    const { sono, socket } = connected();
    let count = 0;
    for (const name of NAMES) sono.on(name, () => count++);
    const reply = sono.grab("myid");
    for (let i = 0; i < 10_000; i++) {
      const name = JSON.stringify(NAMES[i % NAMES.length]);
      const other = JSON.stringify(NAMES[(i >> 3) % NAMES.length]);
      const inner = `{${name}:{"polluted":true,${other}:{"polluted":true}},"message":{${other}:{"polluted":1}}}`;
      socket.receive(`{${other}:{"polluted":true},"protocol":${name},"payload":${inner}}`);
      socket.receive(`{"protocol":"grab","payload":{"type":${name},"message":[${other}]}}`);
      socket.receive(`{"protocol":"grab","payload":{"message":["forged"],"__proto__":{"type":"myid"}}}`);
    }
    assert.equal(count, 10_000);
    prototypesAreClean();
    assert.deepEqual(reported, []);
    socket.receiveJson(grabReply("myid", ["id7"]));
    assert.deepEqual(await reply, ["id7"]);
  });
});
