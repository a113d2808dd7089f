// The browser client passes the transcripts for clients: docs/transcripts.md.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";

import { CLOSED, CLOSING, FakeWebSocket, Page, SonoClient, SonoError, settled } from "./fakes.mjs";

const FOLDER = new URL("../transcripts/", import.meta.url);
const FREE = ["status", "members", "joined", "left"];
const LEFT_OUT = [["self", true], ["presence", false], ["current", false], ["temporary", false], ["beat", 25]];
let plays = 0;

/** Whether a value is as a pattern of the transcript says; `names` are bound by it. */
function fits(pattern, value, names) {
  if (pattern === "$_") return true;
  if (typeof pattern === "string" && pattern[0] === "$") {
    if (!names.has(pattern)) names.set(pattern, value);
    return fits(names.get(pattern), value, names);
  }
  if (Array.isArray(pattern)) {
    return Array.isArray(value) && value.length === pattern.length && pattern.every((one, i) => fits(one, value[i], names));
  }
  if (typeof pattern !== "object" || pattern === null) return Object.is(pattern, value);
  if (pattern.$set) {
    const left = [...value];
    const isIn = (one) => {
      const index = left.findIndex((other) => fits(one, other, names));
      return index >= 0 && left.splice(index, 1).length === 1;
    };
    return pattern.$set.every(isIn) && left.length === 0;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const { $more, ...keys } = plain(pattern);
  const others = plain(value);
  assert.ok(!Object.keys(keys).some((key) => key[0] === "$"), `an unknown pattern: ${JSON.stringify(pattern)}`);
  const isComplete = $more || Object.keys(others).every((key) => key in keys);
  return isComplete && Object.entries(keys).every(([key, one]) => key in others && fits(one, others[key], names));
}

/** A packet without what may be left out of it; 1.6. */
function plain(value) {
  const isUsual = ([key, item]) =>
    item === undefined ||
    LEFT_OUT.some(([name, usual]) => key === name && item === usual) ||
    (["streams", "joined", "denied"].includes(key) && Object.keys(item).length === 0);
  return Object.fromEntries(Object.entries(value).filter((entry) => !isUsual(entry)));
}

class Player {
  names = new Map();
  sockets = new Map(); // name -> socket
  told = [];
  rooms = new Map();
  replies = new Map(); // ref -> how to settle it
  untold = new Set(); // names of calls whose outcome this client does not tell

  constructor(page, lines) {
    this.page = page;
    this.asked = new Set(lines.map(({ server }) => server?.type === "request" && server.name).filter(Boolean));
  }

  tell(what, about) {
    this.told.push([what, JSON.parse(JSON.stringify(about))]);
  }

  connect({ tokens } = {}) {
    const left = tokens && [...tokens];
    const sono = new SonoClient(`ws://example.test/${++plays}`, left && { token: async () => left.shift() });
    this.sono = sono;
    sono.onstatus(({ state }) => state !== "open" && this.tell("status", { state }));
    sono.onsession(({ resumed }) => this.tell("status", { state: "open", resumed }));
    sono.ongap((gap) => this.tell("gap", gap));
    sono.onjoin((room) => {
      this.tell("joined", { channel: room.channel });
      this.follow(room);
    });
    for (const name of ["chat", "news"]) {
      sono.on(name, ({ message, from }, { at, stream }) => this.tell("event", { stream, at, event: name, data: message, from }));
    }
    for (const name of this.asked) {
      sono.onrequest(name, (data) => {
        const ref = this.replies.size;
        this.tell("request", { name, data, ref });
        return new Promise((resolve, reject) => this.replies.set(ref, { resolve, reject }));
      });
    }
  }

  follow(room) {
    if (this.rooms.get(room.channel) === room) return;
    this.rooms.set(room.channel, room);
    const { channel } = room;
    room.onleave(({ code }) => this.tell("left", { channel, code }));
    room.onpresence(({ count }) => this.tell("members", { channel, members: [...room.members], count }));
  }

  do(word, given = {}, name) {
    const { sono } = this;
    const { channel, to, event, data } = given;
    if (word === "connect") return this.connect(given);
    if (word === "close") return sono.close();
    if (word === "reply") {
      const { resolve, reject } = this.replies.get(this.names.get(to) ?? to);
      const { code, message, temporary } = given.error ?? {};
      return given.error ? reject(new SonoError(code, message, temporary)) : resolve(data);
    }
    if (word === "move") {
      this.untold.add(name);
      return sono.changeChannel(channel);
    }
    const calls = {
      join: () => sono.join(channel, given).then((room) => this.follow(room)),
      leave: () => sono.leave(channel),
      publish: () => sono.publish(channel, event, data, given),
      send: () => sono.send(to, event, data, given),
      request: () => sono.request(given.name, data, { timeout: given.timeout && 1000 * given.timeout }),
      present: () => sono.present(channel, data),
    };
    const outcome = (about) => name && this.tell("outcome", { of: name, ...about });
    calls[word]().then(
      (value) => outcome(word === "publish" ? { published: value } : { data: value }),
      ({ code, message, temporary }) => outcome({ error: { code, message, temporary } }),
    );
  }

  /** The step's connection, or the last one. */
  socketOf({ on = "a" }) {
    return this.sockets.get(on);
  }

  async play(step) {
    const { page, names } = this;
    const made = FakeWebSocket.made;
    if (step.do) return this.do(step.do, step.with, step.as);
    if (step.open) {
      const socket = made.at(-1);
      assert.equal(made.length, this.sockets.size + 1, "no attempt to connect, or several");
      this.sockets.set(step.open, socket);
      const { protocol = "sono.v2" } = step;
      assert.deepEqual([socket.args[1] ?? []].flat(), step.offers ?? ["sono.v2"]);
      // Browsers fail a connection whose offer was not answered.
      if (protocol === null && socket.args[1]) return socket.drop();
      return socket.open(protocol ?? "");
    }
    if (step.refuse) {
      this.sockets.set(step.refuse, made.at(-1));
      return made.at(-1).drop();
    }
    if (step.lose) return this.sockets.get(step.lose).drop();
    if (step.close && step.by === "server") return this.sockets.get(step.close).drop(step.code, step.reason);
    if (step.close) return assert.ok(this.sockets.get(step.close).readyState >= CLOSING, "it is open still");
    if (step.server) return this.socketOf(step).receiveJson(step.server);
    if (step.raw !== undefined) return this.socketOf(step).receive(step.raw.$bytes ? new Blob([step.raw.$bytes]) : step.raw);
    if (step.wait) return page.clock.pass(1000 * step.wait);
    if (step.client) {
      const { sent } = this.socketOf(step);
      while (sent[0]?.type === "beat" && step.client.type !== "beat") sent.shift();
      assert.ok(sent.length > 0, `it did not send ${JSON.stringify(step.client)}`);
      const packet = sent.shift();
      return assert.ok(fits(step.client, packet, names), `${JSON.stringify(packet)} is not ${JSON.stringify(step.client)}`);
    }
    if (step.tell === "outcome" && this.untold.has(step.with.of)) return undefined;
    if (step.tell) return this.expectTold(step.tell, step.with);
    assert.ok(step.nothing, JSON.stringify(step));
    return this.expectNothing();
  }

  expectTold(what, about) {
    const order = (other) => other[0] === what && (!["event", "gap"].includes(what) || other[1].stream === about.stream);
    const candidates = this.told.filter(order);
    const found = FREE.includes(what) || what === "outcome"
      ? candidates.find(([, one]) => fits(about, one, this.names))
      : candidates[0];
    assert.ok(found && fits(about, found[1], this.names), `${JSON.stringify([what, about])} in ${JSON.stringify(this.told)}`);
    this.told.splice(this.told.indexOf(found), 1);
  }

  expectNothing() {
    assert.deepEqual(this.told.filter(([what]) => !FREE.includes(what)), []);
    for (const socket of this.sockets.values()) assert.deepEqual(socket.sent.filter(({ type }) => type !== "beat"), []);
    const open = FakeWebSocket.made.filter(({ readyState }) => readyState < CLOSING);
    assert.ok(open.length <= 1);
  }
}

function read(name) {
  const run = `r${++plays}`;
  const [about, ...steps] = readFileSync(new URL(name, FOLDER), "utf8")
    .replaceAll("{run}", run)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { about, steps };
}

describe("transcripts", () => {
  for (const name of readdirSync(FOLDER).sort()) {
    const { about, steps } = read(name);
    if (!about.for.includes("client")) continue;
    // A browser does not tell a page what answer refused its connection.
    const seen = steps.findIndex(({ refuse, headers }) => refuse && headers);
    for (const random of [0, 0.5, 0.999]) {
      test(`${name} (${random})`, async () => {
        const page = new Page();
        page.random = random;
        page.open();
        try {
          const player = new Player(page, steps);
          for (const step of seen < 0 ? steps : steps.slice(0, seen)) {
            await player.play(step);
            await settled();
          }
          await settled();
          player.expectNothing();
          assert.deepEqual(page.reported, []);
          for (const socket of FakeWebSocket.made) if (socket.readyState < CLOSED) socket.drop(1000);
          await settled();
          assert.equal(page.clock.waiting, 0, "timers are left");
        } finally {
          page.close();
        }
      });
    }
  }
});
