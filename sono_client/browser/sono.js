// sono.d.ts says what this does, docs/protocol.md why.

const V2 = "sono.v2";
const LIMITS = { maxMessage: 1 << 20, maxName: 128, maxDepth: 64, maxContainers: 1 << 16 };
const MAX_AGE = 300_000; // ms
const COMES_BACK = /^(100[16]|101[1-4]|400[89]|4010)$/;
const LOST = { code: 1006 };

const OPEN = 1;

const spoken = new Map();

export class SonoError extends Error {
  constructor(code, message = code, temporary = /^(timeout|failed|not-sent|outbox)/.test(code)) {
    super(message);
    Object.assign(this, { code, temporary });
  }
}

class Callbacks {
  #sets = new Map();

  add(name, callback) {
    requireString(name, "event");
    requireFunction(callback);
    this.#sets.set(name, (this.#sets.get(name) ?? new Set()).add(callback));
  }

  delete(name, callback) {
    const callbacks = this.#sets.get(name);
    callbacks?.delete(callback);
    if (callback === undefined || callbacks?.size === 0) this.#sets.delete(name);
  }

  call(name, ...args) {
    const callbacks = [...(this.#sets.get(name) ?? [])];
    for (const callback of callbacks) call(callback, ...args);
    return callbacks.length;
  }
}

export class SonoClient {
  #url;
  #protocols;
  #token;
  #limits;
  #dialect;
  #status = {};
  #socket;
  #isLive;
  #isEnding;
  #isTrial;
  #isReady;
  #openedAt;
  #heardAt;
  #askedAt;
  #beat;
  #attempts = 0;
  #until;
  #timer;
  #listening = new AbortController();
  #events = new Callbacks();
  #hooks = new Callbacks();
  #handlers = new Map();
  #grabs = new Map();
  #id;
  #key; // never stored, as a duplicated tab would copy it
  #channel;
  #target;
  #streams = new Map();
  #reads = new Set();
  #rooms = new Map();
  #outbox = new Set();
  #sent = new Map();
  #seq = 0;

  static #on = ["connection", "close", "status", "session", "join", "gap"].forEach((name) => {
    this.prototype[`on${name}`] = function (callback) {
      this.#hooks.add(name, callback);
      const { state, event } = this.#status;
      const isPast = { connection: state === "open", close: event, status: true }[name];
      if (isPast) queueMicrotask(() => call(callback, ...{ connection: [], close: [event], status: [this.#status] }[name]));
    };
  });

  constructor(url, options, limits) {
    if (typeof WebSocket !== "function") throw new Error("no globalThis.WebSocket");
    const isProtocols = isText(options) || Array.isArray(options);
    const { protocols, dialect, token, limits: own } = isProtocols ? { protocols: options } : (options ?? {});
    refuse(dialect && dialect !== "classic" && dialect !== "v2", "dialect: classic or v2");
    this.#url = String(url);
    this.#protocols = protocols;
    this.#token = token;
    this.#limits = { ...LIMITS, ...own, ...limits };
    this.#dialect = dialect ?? (protocols === undefined ? spoken.get(this.#url) : "classic");
    this.#connect();
    for (const type of ["online", "visibilitychange", "pageshow"]) {
      globalThis.addEventListener?.(type, () => this.#wake(), { signal: this.#listening.signal });
    }
  }

  get #isClassic() {
    return this.#dialect === "classic";
  }

  get url() {
    return this.#socket?.url ?? this.#url;
  }

  get readyState() {
    if (this.#status.state === "closed") return 3;
    return this.#isLive ? this.#socket.readyState : 0;
  }

  message(message, event = "message") {
    this.#say("message", event, message, { type: "publish", event });
  }

  broadcast(message, event = "message") {
    this.#say("broadcast", event, message, { type: "publish", event, self: false });
  }

  directmessage(message, to, event = "message") {
    const isNumber = typeof to === "number";
    if (!isNumber) requireString(to, "to");
    refuse(isNumber && !/^-?\d+$/.test(to), "to must be an integer");
    this.#say("directmessage", event, message, { type: "send", event, to: String(to) }, `,"to":${JSON.stringify(to)}`);
  }

  changeChannel(name) {
    requireName(name, "channel", this.#limits);
    const finish = ({ data }) => this.#begin(data, name);
    const item = this.#packet({ type: "move", channel: name }, { leads: name, finish });
    this.#tell("changeChannel", `{"protocol":"changeChannel","payload":{"to":${JSON.stringify(name)}}}`, item);
  }

  grab(kind, callback) {
    const request = { callback };
    const reply = new Promise((resolve, reject) => {
      requireString(kind, "kind");
      if (callback !== undefined) requireFunction(callback);
      const classic = `{"protocol":"grab","event":"grab","payload":{"message":${JSON.stringify(kind)}}}`;
      checkFrame(classic, this.#limits);
      const fail = (error) => this.#grabbed({ type: kind, error });
      const finish = ({ data }) => this.#list(kind, data).then((payload) => this.#hearClassic({ protocol: "grab", payload }), fail);
      const item = this.#packet({ type: "request", name: "sono.channels" }, { json: "null", finish });
      this.#post({ ...item, classic }).catch(fail);
      Object.assign(request, { resolve, reject });
      this.#grabs.set(kind, [...(this.#grabs.get(kind) ?? []), request]);
    });
    if (callback && request.resolve) reply.catch(() => {});
    return reply;
  }

  async publish(channel, event, data, { self = true, volatile } = {}) {
    requireName(channel, "channel", this.#limits);
    requireEvent(event, this.#limits);
    const head = { type: "publish", channel, event, self: self && undefined };
    return this.#number(head, { json: toJson(data), volatile });
  }

  async send(to, event, data, { volatile } = {}) {
    requireString(to, "to");
    requireEvent(event, this.#limits);
    return this.#number({ type: "send", to, event }, { json: toJson(data), volatile });
  }

  async request(name, data = null, { timeout = 30_000 } = {}) {
    requireName(name, "request", this.#limits);
    refuse(!(timeout > 0 && timeout <= MAX_AGE), "timeout: 1 to 300,000 ms");
    const head = { type: "request", name, timeout: timeout / 1000 };
    return this.#number(head, { json: toJson(data), timeout });
  }

  async join(channel, { presence } = {}) {
    requireName(channel, "channel", this.#limits);
    const room = this.#room(channel);
    if (presence && !room.hasPresence) room.hasPresence = room.isAsking = true;
    const finish = ({ data }) => {
      this.#begin(data);
      this.#rooms.set(channel, room);
      return room.api;
    };
    return this.#number({ type: "join", channel, presence }, { finish });
  }

  async leave(channel) {
    requireName(channel, "channel", this.#limits);
    return this.#number({ type: "leave", channel }, { finish: () => this.#drop(channel) });
  }

  async present(channel, data) {
    requireName(channel, "channel", this.#limits);
    return this.#number({ type: "present", channel }, { json: toJson(data) });
  }

  onrequest(name, handler) {
    requireName(name, "request", this.#limits);
    requireFunction(handler);
    this.#handlers.set(name, handler);
  }

  on(event, callback) {
    this.#events.add(event, callback);
  }

  off(event, callback) {
    this.#events.delete(event, callback);
  }

  trigger(event, payload) {
    this.#events.call(event, payload);
  }

  close(code, reason) {
    const isClosed = this.#status.state === "closed";
    if (this.#isLive && !this.#isReady) this.#socket.close(code, reason);
    this.#isEnding = true;
    if (this.#isReady) this.#put({ type: "bye" });
    else if (!this.#isLive && !isClosed) this.#finish({ ...LOST, code: 1000 });
  }

  #say(protocol, event, message, head, more = "") {
    requireEvent(event, this.#limits);
    const json = toJson(message);
    const classic = `{"protocol":"${protocol}","event":${JSON.stringify(event)},"payload":{"message":${json}${more}}}`;
    this.#tell(protocol, classic, this.#packet(head, { json, isHere: !more }));
  }

  #tell(protocol, classic, item) {
    if (this.#dialect !== "v2") checkFrame(classic, this.#limits, { message: 8, broadcast: 6 }[protocol]);
    this.#post({ ...item, classic }).catch((error) => this.#refused(error));
  }

  async #number(head, { volatile, ...more }) {
    const item = this.#packet(head, more);
    if (!volatile) return this.#post(item);
    if (this.#isReady) this.#put(`${item.body}}`);
  }

  #packet(head, { json, ...more }) {
    const item = { ...more, body: JSON.stringify(head).slice(0, -1) + (json ? `,"data":${json}` : "") };
    if (!this.#isClassic) checkFrame(this.#frame(item, 2 ** 53), this.#limits);
    return item;
  }

  #frame({ body, isHere }, seq) {
    return `${body}${isHere ? `,"channel":${JSON.stringify(this.#target ?? "")}` : ""},"seq":${seq}}`;
  }

  #post(item) {
    if (this.#isEnding || this.readyState > (this.#isClassic ? OPEN : 2)) {
      throw new SonoError("closed", "the connection is closed");
    }
    item.size = sizeOf(item.body ?? item.classic);
    let bytes = item.size;
    for (const { size } of this.#outbox) bytes += size;
    if (this.#outbox.size >= 1000 || (!this.#isClassic && bytes > 1 << 20)) {
      throw new SonoError("outbox-full", `${this.#outbox.size} messages wait`);
    }
    this.#outbox.add(item);
    item.result = new Promise((resolve, reject) => Object.assign(item, { resolve, reject }));
    if (this.readyState === OPEN && (this.#isClassic || this.#isReady)) this.#write(item);
    if (!this.#isClassic) item.timer = setTimeout(() => this.#expire(item), item.timeout ?? MAX_AGE);
    return item.result;
  }

  #write(item) {
    if (this.#isClassic) {
      this.#done(item, !item.classic && "unsupported");
      if (item.classic) this.#socket.send(item.classic);
      return item.resolve();
    }
    if ((item.session ?? this.#id) !== this.#id) return this.#done(item, "unknown");
    item.seq = ++this.#seq;
    item.frame = this.#frame(item, item.seq);
    this.#sent.set(item.seq, item);
    this.#target = item.leads ?? this.#target;
    this.#put(item.frame);
  }

  #put(packet) {
    if (this.readyState === OPEN) this.#socket.send(isText(packet) ? packet : JSON.stringify(packet));
  }

  #accept(item) {
    this.#outbox.delete(item);
    if (!item.timeout) clearTimeout(item.timer);
  }

  #done(item, code) {
    this.#outbox.delete(item);
    this.#sent.delete(item.seq);
    clearTimeout(item.timer);
    if (code) item.reject(new SonoError(code));
  }

  #expire(item) {
    if (!item.seq) this.#done(item);
    item.reject(new SonoError(!item.seq ? "not-sent" : item.timeout ? "timeout" : "unknown"));
  }

  #abandon(isEvery) {
    for (const item of [...this.#sent.values()]) if (isEvery || !this.#outbox.has(item)) this.#done(item, "unknown");
    this.#aim();
  }

  #connect() {
    this.#turn("connecting");
    if (typeof this.#token !== "function") return this.#open(this.#token);
    this.#fetch()
      .then((token) => this.#open(token))
      .catch((error) => {
        report(error);
        this.#comeBack(LOST);
      });
  }

  async #fetch() {
    return typeof this.#token === "function" ? this.#token() : this.#token;
  }

  #open(token) {
    if (this.#status.state !== "connecting") return;
    if (token !== undefined) requireString(token, "token");
    const offered = this.#protocols ?? (!this.#isClassic && !this.#isTrial && V2);
    const socket = new WebSocket(...[this.#url, offered].filter(Boolean));
    const listen = (type, hear) =>
      socket.addEventListener(type, (event) => this.#isLive && socket === this.#socket && hear(event));
    this.#socket = socket;
    this.#isLive = true;
    this.#openedAt = undefined;
    if (!this.#isClassic) this.#look(30_000);
    listen("open", () => this.#opened(token));
    listen("message", ({ data }) => (this.#dialect === "v2" ? this.#hear : this.#hearClassic).call(this, parse(data)));
    listen("close", (event) => this.#lost(event));
    listen("error", () => {});
  }

  #opened(token) {
    this.#openedAt = now();
    const dialect = this.#socket.protocol === V2 ? "v2" : "classic";
    if (this.#dialect === "v2" && dialect !== "v2") return this.#lost(LOST);
    if (!this.#dialect) spoken.set(this.#url, dialect);
    this.#dialect = dialect;
    if (dialect === "classic") return this.#begun(true);
    const streams = Object.fromEntries(this.#streams);
    const joined = Object.keys(streams).map(channelOf).filter((channel) => channel && channel !== this.#channel);
    this.#put({ type: "hello", token, key: this.#key, streams, channel: this.#channel, joined });
  }

  #begun(isNew, accepted) {
    clearTimeout(this.#timer);
    for (const item of this.#outbox) {
      if (!item.seq) this.#write(item);
      else if (item.seq <= accepted) this.#accept(item);
      else this.#put(item.frame);
    }
    this.#turn("open");
    if (isNew) this.#hooks.call("connection");
  }

  #lost(event) {
    clearTimeout(this.#timer);
    const wasReady = this.#isReady;
    this.#isLive = this.#isReady = false;
    this.#socket.close();
    const isDoubtful = this.#openedAt === undefined && !this.#dialect && !this.#isTrial && !this.#isEnding;
    this.#isTrial = isDoubtful;
    if (isDoubtful) return this.#connect();
    const isStale = event.code === 4011 && wasReady && typeof this.#token === "function";
    const isOver = this.#isEnding || this.#isClassic || !(isStale || COMES_BACK.test(event.code));
    if (isOver) this.#finish(event);
    else this.#comeBack(event);
  }

  #comeBack({ code, reason }) {
    if (this.#status.state === "closed") return;
    if (now() - this.#openedAt >= 20_000) this.#attempts = 0;
    this.#openedAt = undefined;
    const [, asked = 0] = (code === 1013 && /retry_after=([\d.]+)/.exec(reason)) || [];
    const away = Math.min(1000 * asked || 0, 300_000);
    const retryIn = away + 500 + Math.random() * Math.min(19_500, 500 * 2 ** this.#attempts++);
    this.#until = now() + away;
    this.#timer = setTimeout(() => this.#connect(), retryIn);
    this.#turn("waiting", { retryIn });
  }

  #wake() {
    if (isHidden()) return;
    if (this.#isReady) this.#ask();
    if (this.#status.state !== "waiting" || now() < this.#until) return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  #look(delay) {
    clearTimeout(this.#timer);
    const look = () => {
      const left = 2 * this.#beat - now() + this.#heardAt;
      if (isHidden()) this.#look(30_000);
      else if (!this.#isReady || left <= 0 || this.#askedAt > this.#heardAt) this.#lost(LOST);
      else this.#look(left);
    };
    this.#timer = setTimeout(look, delay);
  }

  #ask() {
    this.#askedAt = now();
    this.#put({ type: "beat" });
    this.#look(10_000);
  }

  #finish(event) {
    const closed = new SonoError("closed", "the connection closed before the reply");
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#turn("closed", { event });
    this.#abandon(true);
    for (const item of this.#outbox) this.#done(item, "not-sent");
    for (const { reject } of [...this.#grabs.values()].flat()) reject(closed);
    this.#grabs.clear();
    this.#hooks.call("close", event);
  }

  #turn(state, more) {
    if (state === this.#status.state) return;
    this.#status = { state, ...more };
    this.#hooks.call("status", this.#status);
  }

  #hear(packet) {
    this.#heardAt = now();
    const { type, stream, at, channel } = packet ?? {};
    if (!fits(packet, NEEDED.get(type) ?? ["type"]) || !isText(type)) return warnOfFrame();
    if (type === "error") return this.#refused(packet);
    if (type === "welcome" && !this.#isReady) return this.#welcome(packet);
    if (!this.#isReady || (stream !== undefined && !this.#streams.has(stream))) return;
    if (at && !this.#takes(stream, at, type === "gap")) return;
    if (type === "event") {
      this.#event(packet);
    } else if (type === "result") {
      this.#result(packet);
    } else if (type === "request") {
      this.#answer(packet).catch(() => {});
    } else if (type === "joined") {
      this.#begin({ stream: `#${channel}`, at: packet.position }, packet.current ? channel : undefined);
      if (!packet.current) this.#hooks.call("join", this.#room(channel).api);
    } else if (type === "left") {
      this.#drop(channel, packet.code);
    } else if (type === "members" || type === "presence") {
      this.#presence(packet);
    } else if (type === "ack") {
      for (const [seq, item] of this.#sent) if (seq <= packet.seq) this.#accept(item);
    } else if (type === "renew") {
      this.#fetch().then((token) => token && this.#put({ type: "token", token }), report);
    }
  }

  #welcome({ id, key, resumed, seq, channel, streams = [], denied = [], beat = 25 }) {
    const before = this.#streams;
    this.#isReady = true;
    this.#id = id;
    this.#key = key;
    this.#channel = channel;
    this.#beat = 1000 * Math.min(Math.max(beat, 1), 3600);
    this.#streams = new Map(streams.map(({ stream, at }) => [stream, at]));
    this.#reads.clear();
    if (!resumed) {
      this.#abandon(true);
      before.delete("@");
      this.#seq = seq;
    }
    this.#aim();
    this.#begun(!resumed, seq);
    this.#look(2 * this.#beat);
    this.#hooks.call("session", { id, resumed, channel });
    for (const { stream, at } of streams) {
      const mine = before.get(stream);
      if (mine && String(mine) !== String(at)) this.#gap(stream, at, mine);
    }
    for (const [name, room] of [...this.#rooms]) {
      const why = denied.find((one) => one.channel === name)?.error.code ?? "unknown";
      if (!this.#streams.has(`#${name}`)) this.#drop(name, why);
      else if (room.hasPresence) {
        Object.assign(room, { isAsking: true, version: NaN });
        if (!resumed) this.join(name, { presence: true }).catch(() => {});
      }
    }
  }

  #takes(stream, at, isGap) {
    const mine = this.#streams.get(stream);
    const step = at[1] - mine[1];
    if (at[0] !== mine[0] || (isGap && step > 0)) this.#gap(stream, at);
    else if (step === 1) this.#follow(stream, at);
    else if (step > 1 && !this.#reads.has(stream)) {
      this.#reads.add(stream);
      this.#put({ type: "read", stream, at: mine });
    }
    return this.#streams.get(stream) === at;
  }

  #follow(stream, at) {
    this.#streams.set(stream, at);
    this.#reads.delete(stream);
  }

  #gap(stream, at, [epoch, offset] = this.#streams.get(stream)) {
    const isKnown = epoch === at[0] && offset < at[1];
    const gap = { stream, from: isKnown ? offset + 1 : null, to: isKnown ? at[1] : null };
    this.#follow(stream, at);
    if (stream === "@") this.#abandon(false);
    this.#rooms.get(channelOf(stream))?.hooks.call("gap", gap);
    this.#hooks.call("gap", gap);
  }

  #begin(begun, current) {
    if (!isBegun(begun)) throw new SonoError("invalid-packet");
    if (!this.#streams.has(begun.stream)) this.#streams.set(begun.stream, begun.at);
    if (current === undefined) return;
    if (current !== this.#channel) this.#drop(this.#channel);
    this.#channel = current;
    this.#aim();
  }

  #aim() {
    this.#target = this.#channel;
    for (const { leads } of this.#sent.values()) this.#target = leads ?? this.#target;
  }

  #drop(channel, code) {
    const room = this.#rooms.get(channel);
    this.#streams.delete(`#${channel}`);
    this.#reads.delete(`#${channel}`);
    this.#rooms.delete(channel);
    if (code) room?.hooks.call("leave", { code });
  }

  #event({ stream, at, event, data, from }) {
    const channel = channelOf(stream);
    const about = { from, at, offset: at?.[1], stream, channel };
    this.#rooms.get(channel)?.events.call(event, data, about);
    this.#events.call(event, from === undefined ? { message: data } : { message: data, from }, about);
  }

  #result(result) {
    const item = this.#sent.get(result.re);
    if (!item) return;
    this.#done(item);
    const { code, message, temporary } = result.error ?? {};
    try {
      if (code) throw new SonoError(code, message, !!temporary);
      item.resolve(item.finish ? item.finish(result) : (result.published ?? result.data));
    } catch (error) {
      item.reject(error);
    }
    if (item.leads) this.#aim();
    if (code === "unknown" && item.body[9] < "p") this.#lost(LOST);
  }

  async #answer({ id, name, data }) {
    const head = { type: "reply", re: id };
    const session = this.#id;
    let item;
    try {
      const handler = this.#handlers.get(name);
      if (!handler) throw new SonoError("unknown-request");
      item = this.#packet(head, { json: toJson((await handler(data)) ?? null), session });
    } catch (error) {
      const isNamed = error instanceof SonoError;
      if (!isNamed) report(error);
      const { code, message, temporary } = isNamed ? error : new SonoError("failed");
      item = this.#packet({ ...head, error: { code, message, temporary } }, { session });
    }
    await this.#post(item);
  }

  async #list(type, { channels }) {
    const known = new Map([["myid", [this.#id]], ["mychannel", [this.#channel]], ["channels", channels]]);
    if (type !== "mychannelclients") return { type, message: known.get(type) ?? ["invalid grab request"] };
    const { members, count } = await this.request("sono.members", { channel: this.#channel });
    return { type, message: members.map(([id]) => id), truncated: count > members.length };
  }

  #room(channel) {
    const found = this.#rooms.get(channel);
    if (found) return found;
    const events = new Callbacks();
    const hooks = new Callbacks();
    const by = (event) => (event === "gap" ? hooks : events);
    const api = {
      channel,
      members: new Map(),
      on: (event, callback) => by(event).add(event, callback),
      off: (event, callback) => by(event).delete(event, callback),
      onpresence: (callback) => hooks.add("presence", callback),
      onleave: (callback) => hooks.add("leave", callback),
      publish: (event, data, options) => this.publish(channel, event, data, options),
      present: (data) => this.present(channel, data),
      history: (options) => this.request("sono.history", { ...options, channel }),
      leave: () => this.leave(channel),
    };
    const room = { api, events, hooks, held: [] };
    this.#rooms.set(channel, room);
    return room;
  }

  #presence(packet) {
    const { type, channel, version, members = [], in: entered = members, out = [], count } = packet;
    const room = this.#rooms.get(channel);
    if (!room) return;
    const list = room.api.members;
    if (type === "members") {
      list.clear();
    } else if (version !== room.version + 1) {
      if (version <= room.version) return;
      if (room.held.push(packet) > 100) room.isAsking = room.held.length = 0;
      return room.isAsking || this.#refresh(room);
    }
    for (const id of out) list.delete(id);
    for (const [id, data] of entered) list.set(id, data);
    room.version = version;
    room.hooks.call("presence", { in: entered, out, count });
    if (type !== "members") return;
    room.isAsking = false;
    for (const change of room.held.splice(0)) this.#presence(change);
  }

  #refresh(room) {
    const { channel } = room.api;
    const forget = () => (room.isAsking = false);
    room.isAsking = true;
    this.request("sono.members", { channel }).then((data) => this.#hear({ ...data, type: "members", channel })).then(forget, forget);
  }

  #hearClassic(frame) {
    if (!isObject(frame) || !isText(frame.protocol) || !isObject(frame.payload)) return warnOfFrame();
    const { protocol, payload } = frame;
    if (protocol === "error") return this.#refused(payload);
    if (protocol === "grab") this.#grabbed(payload);
    this.#events.call(protocol, payload);
  }

  #grabbed({ type, message, truncated, error }) {
    const request = (error || Array.isArray(message)) && this.#grabs.get(type)?.shift();
    if (!request) return;
    if (error) return request.reject(error);
    if (truncated === true) message.truncated = true;
    if (request.callback) call(request.callback, message);
    request.resolve(message);
  }

  #refused(error) {
    const { code, message } = error;
    const told = this.#events.call("error", this.#isClassic ? error : { code, message });
    if (!told) console.warn("Sono: refused:", code, message);
  }
}

const isText = (value) => typeof value === "string";
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isHidden = () => globalThis.document?.visibilityState === "hidden";
const now = () => performance.now();
const warnOfFrame = () => console.warn("Sono: ignored a frame");
const sizeOf = (text) => new TextEncoder().encode(text).length;
const channelOf = (stream) => (stream[0] === "#" ? stream.slice(1) : undefined);

function parse(text) {
  try {
    return isText(text) && JSON.parse(text);
  } catch {}
}

const listOf = (check) => (value) => Array.isArray(value) && value.every(check);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isBegun = (value) => fits(value, ["stream", "at"]);
const KINDS = new Map(
  [
    ["stream event from code message channel name key", isText],
    ["seq re version count", isCount],
    ["beat", Number.isFinite],
    ["resumed recovered current temporary", (value) => typeof value === "boolean"],
    ["at position published", (value) => Array.isArray(value) && isText(value[0]) && isCount(value[1]) && !value[2]],
    ["error", (value) => fits(value, ["code", "message"])],
    ["streams", listOf(isBegun)],
    ["denied", listOf((value) => fits(value, ["channel", "error"]))],
    ["members", listOf(Array.isArray)],
    ["out", listOf(isText)],
  ].flatMap(([keys, check]) => keys.split(" ").map((key) => [key, check])),
);
const NEEDED = new Map(
  `welcome id key resumed seq channel
event stream event data
skip stream at
gap stream at
result stream at re
request stream at id name data
joined stream at channel position
left stream at channel code
members channel version count
presence channel version count
ack seq
error code message`
    .split("\n")
    .map((line) => [line.split(" ")[0], line.split(" ").slice(1)]),
);

function fits(value, needed) {
  return (
    isObject(value) &&
    needed.every((key) => value[key] !== undefined) &&
    Object.keys(value).every((key) => KINDS.get(key)?.(value[key]) ?? true)
  );
}

function call(callback, ...args) {
  try {
    callback(...args);
  } catch (error) {
    report(error);
  }
}

function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

function requireString(value, what) {
  if (!isText(value)) throw new TypeError(`${what} must be a string`);
}

function requireName(value, what, { maxName }) {
  requireString(value, what);
  refuse(!value || [...value].length > maxName || /[\p{Cc}\p{Cs}]/u.test(value), `${what}: 1 to ${maxName} characters, no control characters or lone surrogates`);
}

function requireEvent(value, limits) {
  requireName(value, "event", limits);
  refuse(value === "error" || value === "grab", `event: ${value} is reserved`);
}

function refuse(isBad, text) {
  if (isBad) throw new RangeError(text);
}

function requireFunction(value) {
  if (typeof value !== "function") throw new TypeError("callback must be a function");
}

function toJson(message) {
  const json = JSON.stringify(message, (key, value) => {
    refuse((typeof value === "number" || value instanceof Number) && !isFinite(value), "message: NaN or an infinity");
    return value;
  });
  if (json === undefined) throw new TypeError("message must be a JSON value");
  return json;
}

function checkFrame(frame, { maxMessage, maxDepth, maxContainers }, growth = 0) {
  refuse(sizeOf(frame) > maxMessage - growth, `message: more than ${maxMessage} bytes`);
  refuse(frame.replaceAll("\\\\", "").includes("\\ud"), "message: a lone surrogate");
  const bare = frame.replace(/\\./g, "").replace(/"[^"]*"/g, "");
  refuse(bare.match(/[[{]/g).length > maxContainers, `message: more than ${maxContainers} containers`);
  let depth = 0;
  for (const token of bare.match(/[[{\]}]|[-+.eE\d]+/g)) {
    depth += /[[{]/.test(token) - /[\]}]/.test(token);
    refuse(depth > maxDepth, `message: more than ${maxDepth} levels`);
    refuse(/^-?\d{19,}$/.test(token) && BigInt.asIntN(64, BigInt(token)) !== BigInt(token), "message: an integer beyond 64 bits");
  }
}
