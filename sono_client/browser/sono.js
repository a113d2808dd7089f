/**
 * The Sono client for browsers: the classic message protocol over one WebSocket.
 *
 * It sends, receives and calls callbacks; it does not reconnect and keeps no
 * history. Nothing that a server or another client sends can make it throw or
 * reach an object's prototype: every look-up by a name from outside is in a Map.
 *
 * @module sono
 */

/** Messages kept while connecting: enough for any start-up, small enough that a loop shows itself. */
const QUEUE_LIMIT = 1000;

/** The values of `WebSocket.readyState`; numbers, as stand-ins for WebSocket may lack the names. */
const CONNECTING = 0;
const OPEN = 1;

/**
 * A connection to a Sono server.
 *
 * @example
 * const sono = new SonoClient("ws://localhost:8080/ws");
 * sono.onconnection(() => sono.message("hello"));
 * sono.on("message", ({ message, from }) => console.log(from, "says", message));
 */
export class SonoClient {
  #socket;
  #queue = []; // encoded frames that wait for the connection to open
  #callbacks = new Map(); // event name -> Set of callbacks
  #grabs = new Map(); // kind -> requests without a reply, oldest first
  #connectionCallbacks = new Set();
  #closeCallbacks = new Set();
  #opened = false;
  #closeEvent = null;

  /**
   * Connects at once, through `globalThis.WebSocket`.
   *
   * @param {string | URL} url address of the server's WebSocket, `ws://` or `wss://`
   * @param {string | string[]} [protocols] subprotocols to offer; leave it out for a Sono
   *   server, which speaks the classic protocol to a client that offers none
   * @throws {SyntaxError} if the address is not one of a WebSocket
   */
  constructor(url, protocols) {
    const { WebSocket } = globalThis;
    if (typeof WebSocket !== "function") throw new Error("SonoClient needs globalThis.WebSocket");
    this.#socket = protocols === undefined ? new WebSocket(url) : new WebSocket(url, protocols);
    this.#socket.addEventListener("open", () => this.#handleOpen());
    this.#socket.addEventListener("message", (event) => this.#handleFrame(event.data));
    this.#socket.addEventListener("close", (event) => this.#handleClose(event));
    // A failure is always followed by "close", which is where it is reported. Node's
    // packages throw an "error" that nobody listens to.
    this.#socket.addEventListener("error", () => {});
  }

  /** The address that the client connects to, as the WebSocket resolved it. */
  get url() {
    return this.#socket.url;
  }

  /** State of the connection: 0 connecting, 1 open, 2 closing, 3 closed. */
  get readyState() {
    return this.#socket.readyState;
  }

  // --- Sending -------------------------------------------------------------------------
  //
  // All of these queue up to 1,000 messages while the client connects, and throw an Error
  // beyond that or when the connection is closing or closed. They throw a TypeError for
  // what JSON cannot carry. The server refuses the event names "error" and "grab".

  /**
   * Sends to every client in the current channel, this one included.
   *
   * @param {*} message any JSON value
   * @param {string} [event] name of the event that it arrives as
   */
  message(message, event = "message") {
    this.#send("message", requireName(event, "event"), { message: requireJson(message) });
  }

  /**
   * Sends to every other client in the current channel.
   *
   * @param {*} message any JSON value
   * @param {string} [event] name of the event that it arrives as
   */
  broadcast(message, event = "message") {
    this.#send("broadcast", requireName(event, "event"), { message: requireJson(message) });
  }

  /**
   * Sends to one client, in whatever channel it is.
   *
   * @param {*} message any JSON value
   * @param {string | number} to id of that client
   * @param {string} [event] name of the event that it arrives as
   */
  directmessage(message, to, event = "message") {
    if (typeof to !== "string" && typeof to !== "number") throw new TypeError("to must be a client's id");
    this.#send("directmessage", requireName(event, "event"), { message: requireJson(message), to });
  }

  /**
   * Leaves the current channel and enters another.
   *
   * @param {string} name the channel to enter; if the server refuses, it sends an "error"
   *   event and the client stays where it is
   */
  changeChannel(name) {
    this.#send("changeChannel", undefined, { to: requireName(name, "channel") });
  }

  /**
   * Asks the server for a list: "myid", "clients", "channels", "mychannel" or
   * "mychannelclients". Replies are matched to requests of the same kind, first in, first out.
   *
   * The server's reply to any other kind is `["invalid grab request"]`, and is a reply like
   * the others. `on("grab", …)` sees all replies, as `{message, type}`.
   *
   * @param {string} kind what to ask for
   * @param {(list: string[]) => void} [callback] called with the list, before the promise settles
   * @returns {Promise<string[]>} the list; rejects if the request cannot be sent, or if the
   *   connection closes before the reply (silently, for those who only use the callback)
   */
  grab(kind, callback) {
    const request = { callback };
    request.reply = new Promise((resolve, reject) => {
      requireName(kind, "kind");
      if (callback !== undefined) requireFunction(callback);
      this.#send("grab", "grab", { message: kind });
      Object.assign(request, { resolve, reject });
      const pending = this.#grabs.get(kind);
      if (pending) pending.push(request);
      else this.#grabs.set(kind, [request]);
    });
    return request.reply;
  }

  /**
   * Closes the connection. Callbacks of `onclose` run when it is closed.
   *
   * @param {number} [code] 1000, or the application's own from 3000 to 4999
   * @param {string} [reason] at most 123 bytes of UTF-8
   */
  close(code, reason) {
    this.#socket.close(code, reason);
  }

  // --- Receiving -----------------------------------------------------------------------
  //
  // A callback that throws is reported as an uncaught error and does not stop the others.

  /**
   * Calls `callback` when the connection opens, or soon if it is open already.
   *
   * @param {() => void} callback
   */
  onconnection(callback) {
    requireFunction(callback);
    this.#connectionCallbacks.add(callback);
    if (this.#opened && this.readyState === OPEN) queueMicrotask(() => call(callback));
  }

  /**
   * Calls `callback` when the connection has closed or could not be made, or soon if that
   * is past. It is separate from `on`, as "close" may be an event of the application.
   *
   * @param {(event: CloseEvent) => void} callback
   */
  onclose(callback) {
    requireFunction(callback);
    this.#closeCallbacks.add(callback);
    const event = this.#closeEvent;
    if (event) queueMicrotask(() => call(callback, event));
  }

  /**
   * Calls `callback` with the payload, `{message, from}`, of every such event. What the
   * server itself says has no `from`. Its refusals are the event "error", with the payload
   * `{code, message}`. The same callback is kept once for an event.
   *
   * @param {string} event
   * @param {(payload: object) => void} callback
   */
  on(event, callback) {
    requireName(event, "event");
    requireFunction(callback);
    const callbacks = this.#callbacks.get(event);
    if (callbacks) callbacks.add(callback);
    else this.#callbacks.set(event, new Set([callback]));
  }

  /**
   * Stops calling `callback` for this event, or without it every callback of the event.
   *
   * @param {string} event
   * @param {Function} [callback]
   */
  off(event, callback) {
    const callbacks = this.#callbacks.get(event);
    if (callback !== undefined) callbacks?.delete(callback);
    if (callback === undefined || callbacks?.size === 0) this.#callbacks.delete(event);
  }

  /**
   * Calls the event's callbacks here, as if the server had sent it; sends nothing.
   *
   * @param {string} event
   * @param {*} [payload] given to the callbacks as it is
   */
  trigger(event, payload) {
    // A copy, as a callback may add and remove callbacks.
    for (const callback of [...(this.#callbacks.get(event) ?? [])]) call(callback, payload);
  }

  // --- Inside --------------------------------------------------------------------------

  #send(protocol, event, payload) {
    const { readyState } = this.#socket;
    if (readyState !== CONNECTING && readyState !== OPEN) {
      throw new Error(`cannot send ${protocol}: the connection is closed`);
    }
    const frame = JSON.stringify({ protocol, event, payload });
    if (readyState === OPEN) {
      this.#socket.send(frame);
    } else if (this.#queue.length < QUEUE_LIMIT) {
      this.#queue.push(frame);
    } else {
      throw new Error(`cannot send ${protocol}: ${QUEUE_LIMIT} messages wait for the connection to open`);
    }
  }

  #handleOpen() {
    for (const frame of this.#queue.splice(0)) this.#socket.send(frame);
    this.#opened = true;
    for (const callback of [...this.#connectionCallbacks]) call(callback);
  }

  #handleFrame(data) {
    const frame = parseFrame(data);
    if (!frame) {
      console.warn("Sono: ignored a frame that is not of its protocol");
      return;
    }
    const { protocol, payload } = frame;
    if (protocol === "grab") this.#settleGrab(payload);
    if (protocol === "error" && !this.#callbacks.has("error")) {
      console.warn("Sono: the server refused a message:", payload.code, payload.message);
    }
    this.trigger(protocol, payload);
  }

  #settleGrab({ type, message }) {
    if (typeof type !== "string" || !Array.isArray(message)) return;
    const pending = this.#grabs.get(type);
    if (!pending) return;
    const { resolve, callback } = pending.shift();
    if (pending.length === 0) this.#grabs.delete(type);
    if (callback) call(callback, message);
    resolve(message);
  }

  #handleClose(event) {
    this.#queue = [];
    this.#closeEvent = event;
    const pending = [...this.#grabs.values()].flat();
    this.#grabs.clear();
    for (const { callback, reply, reject } of pending) {
      if (callback) reply.catch(() => {}); // its owner may never have looked at the promise
      reject(new Error("the connection closed before the reply"));
    }
    for (const callback of [...this.#closeCallbacks]) call(callback, event);
  }
}

/** The frame as an object with a string `protocol` and an object `payload`, or null. */
function parseFrame(data) {
  if (typeof data !== "string") return null; // binary
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  return isObject(frame) && typeof frame.protocol === "string" && isObject(frame.payload) ? frame : null;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Calls back; what the callback throws goes where uncaught errors go, and no further. */
function call(callback, ...args) {
  try {
    callback(...args);
  } catch (error) {
    if (typeof globalThis.reportError === "function") globalThis.reportError(error);
    else console.error(error);
  }
}

function requireName(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} must be a string`);
  return value;
}

function requireFunction(value) {
  if (typeof value !== "function") throw new TypeError("callback must be a function");
}

/** JSON.stringify leaves these out without a word; the server would miss the message. */
function requireJson(value) {
  if (value === undefined || typeof value === "function" || typeof value === "symbol") {
    throw new TypeError(`message must be a JSON value, not ${typeof value}`);
  }
  return value;
}
