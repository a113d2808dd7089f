// What a server refuses, the browser client refuses at the call: the table of tests/values.json,
// which tests/client/test_values.py compares with the server and the clients in Python.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const source = Buffer.from(read("../../sono_client/browser/sono.js")).toString("base64");
const { SonoClient } = await import(`data:text/javascript;base64,${source}`);
const cases = JSON.parse(read("../values.json")).filter(({ only }) => only !== "python");

class OpenSocket extends EventTarget {
  readyState = 1;
  sent = [];

  send(frame) {
    this.sent.push(frame);
  }
}

/** A client that is connected, and what it sends. */
function connected(limits) {
  const socket = new OpenSocket();
  globalThis.WebSocket = function () {
    return socket;
  };
  return { sono: new SonoClient("ws://example.test/ws", { dialect: "classic" }, limits), sent: socket.sent };
}

/** A value of the table, with what JSON cannot write, or only at length. */
function made(value) {
  if (Array.isArray(value)) return value.map(made);
  if (typeof value !== "object" || value === null) return value;
  if (value.$repeat) return value.$repeat[0].repeat(value.$repeat[1]);
  if (value.$many) return Array(value.$many[1]).fill(value.$many[0]);
  if (value.$integer) return Number(value.$integer);
  if (value.$number) return Number(value.$number);
  let inner = [];
  if (value.$nested) {
    for (let level = 1; level < value.$nested; level++) inner = [inner];
    return inner;
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, made(item)]));
}

function call(sono, { call: name, message, event, to, channel, kind }) {
  if (name === "change_channel") return sono.changeChannel(made(channel));
  if (name === "direct_message") return sono.directmessage(made(message), made(to), made(event));
  return sono[name](made(message), made(event));
}

describe("values", () => {
  for (const row of cases) {
    test(`${row.name}: ${row.accepted ? "sent" : "refused"}`, async () => {
      const { sono, sent } = connected();
      if (row.call === "grab") {
        const reply = sono.grab(made(row.kind));
        if (!row.accepted) await assert.rejects(reply, RangeError);
      } else if (row.accepted) {
        call(sono, row);
      } else {
        assert.throws(() => call(sono, row), RangeError);
      }
      assert.equal(sent.length, row.accepted ? 1 : 0);
      if (!row.accepted) return;
      const { protocol, event, payload } = JSON.parse(sent[0]);
      assert.equal(protocol, { change_channel: "changeChannel", direct_message: "directmessage" }[row.call] ?? row.call);
      if (row.call === "change_channel") return assert.deepEqual(payload, { to: made(row.channel) });
      const to = row.call === "direct_message" ? { to: made(row.to) } : {};
      assert.deepEqual(payload, { message: row.call === "grab" ? made(row.kind) : made(row.message), ...to });
      assert.equal(event, row.call === "grab" ? "grab" : (made(row.event) ?? "message"));
    });
  }

  test("the limits are those that the client was given", () => {
    const { sono, sent } = connected({ maxName: 3, maxDepth: 4, maxContainers: 5, maxMessage: 200 });
    sono.message([[]], "abc");
    assert.throws(() => sono.message([[]], "abcd"), RangeError);
    assert.throws(() => sono.changeChannel("abcd"), RangeError);
    assert.throws(() => sono.message([[[]]]), RangeError);
    assert.throws(() => sono.message([1, [], [], []]), RangeError);
    assert.throws(() => sono.message("x".repeat(130)), RangeError);
    assert.throws(() => sono.directmessage(1, "x".repeat(200)), RangeError);
    assert.equal(sent.length, 1);
  });

  test("what becomes nothing, or no number, in JSON throws", () => {
    const { sono, sent } = connected();
    for (const value of [undefined, () => {}, Symbol("x"), { toJSON() {} }, 1n, [1n]]) {
      assert.throws(() => sono.message(value), TypeError);
    }
    const circular = [];
    circular.push(circular);
    assert.throws(() => sono.message(circular), TypeError);
    for (const value of [new Number(NaN), { toJSON: () => Infinity }]) {
      assert.throws(() => sono.message(value), RangeError);
    }
    assert.equal(sent.length, 0);
  });

  test("what JSON leaves out inside of an object stays left out", () => {
    const { sono, sent } = connected();
    sono.message({ a: undefined, b: [undefined] });
    assert.deepEqual(JSON.parse(sent[0]).payload, { message: { b: [null] } });
  });

  test("a frame of a million brackets in a text is looked through at once", () => {
    const { sono, sent } = connected();
    sono.message('[{"\\'.repeat(170_000));
    assert.equal(sent.length, 1);
  });
});
