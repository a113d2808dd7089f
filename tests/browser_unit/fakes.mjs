// The browser client with a WebSocket that the test plays the server of, and a clock that jumps.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

// The file has the suffix .js and no package.json beside it, so node is told here that it is a module.
const source = readFileSync(new URL("../../sono_client/browser/sono.js", import.meta.url), "utf8");
let pages = 0;

/** The client as a page loads it: each page has its own. */
export function newPage() {
  const text = Buffer.from(`${source}// page ${++pages}`).toString("base64");
  return import(`data:text/javascript;base64,${text}`);
}

export const { SonoClient, SonoError } = await newPage();

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;

export class FakeWebSocket extends EventTarget {
  /** All that were made since the last `reset`. */
  static made = [];

  constructor(...args) {
    super();
    this.args = args;
    this.url = String(args[0]);
    this.protocol = "";
    this.readyState = CONNECTING;
    this.sent = [];
    this.closedWith = null;
    FakeWebSocket.made.push(this);
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

  open(protocol = "") {
    this.readyState = OPEN;
    this.protocol = protocol;
    this.dispatchEvent(new Event("open"));
  }

  receive(data) {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  receiveJson(value) {
    this.receive(JSON.stringify(value));
  }

  drop(code = 1006, reason = "") {
    this.readyState = CLOSED;
    this.dispatchEvent(new Event("error"));
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean: code !== 1006 }));
  }
}

const real = { setTimeout: globalThis.setTimeout, setImmediate: globalThis.setImmediate };

/** What was begun by promises has happened. */
export const settled = () => new Promise((resolve) => real.setImmediate(resolve));

/** Timers and the time of `performance.now`, in milliseconds. */
export class Clock {
  now = 1000;
  fired = 0;
  #timers = new Map();
  #last = 0;

  set(callback, delay) {
    this.#timers.set(++this.#last, { callback, due: this.now + Math.max(0, delay || 0) });
    return this.#last;
  }

  clear(timer) {
    this.#timers.delete(timer);
  }

  get waiting() {
    return this.#timers.size;
  }

  async pass(milliseconds) {
    const end = this.now + milliseconds;
    await settled();
    for (;;) {
      const [next] = [...this.#timers].sort(([, a], [, b]) => a.due - b.due);
      if (!next || next[1].due > end) break;
      this.now = Math.max(this.now, next[1].due);
      this.#timers.delete(next[0]);
      this.fired++;
      next[1].callback();
      await settled();
    }
    this.now = end;
  }
}

/** The page's own: what it was told, and what happens to it. */
export class Page {
  clock = new Clock();
  random = 0.5;
  warnings = [];
  reported = [];
  listeners = 0; // of the window
  #window = new EventTarget();
  #originals = {};

  set isHidden(isHidden) {
    globalThis.document.visibilityState = isHidden ? "hidden" : "visible";
    this.happens("visibilitychange");
  }

  happens(type) {
    this.#window.dispatchEvent(new Event(type));
  }

  /** Takes the place of the globals. */
  open() {
    const { clock } = this;
    FakeWebSocket.made = [];
    const globals = {
      WebSocket: FakeWebSocket,
      setTimeout: (callback, delay) => clock.set(callback, delay),
      clearTimeout: (timer) => clock.clear(timer),
      reportError: (error) => this.reported.push(error),
      addEventListener: (type, callback, { signal }) => {
        this.listeners++;
        signal.addEventListener("abort", () => this.listeners--);
        this.#window.addEventListener(type, callback, { signal });
      },
      document: { visibilityState: "visible" },
    };
    for (const [name, value] of Object.entries(globals)) {
      this.#originals[name] = Object.getOwnPropertyDescriptor(globalThis, name);
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
    this.#originals.now = performance.now;
    performance.now = () => clock.now;
    this.#originals.random = Math.random;
    Math.random = () => this.random;
    this.#originals.warn = console.warn;
    console.warn = (...args) => this.warnings.push(args);
  }

  close() {
    const { now, random, warn, ...globals } = this.#originals;
    performance.now = now;
    Math.random = random;
    console.warn = warn;
    for (const [name, descriptor] of Object.entries(globals)) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  }
}
