/**
 * Types and documentation of the Sono client for browsers, sono.js, which is served without comments.
 *
 * The client speaks `sono.v2`: it comes back after its connection was lost, goes on where it was, and tells
 * what could not be had. With a server that knows the classic dialect only it speaks that, over one connection:
 * then `join`, `publish`, `send`, `request` and the like are rejected with the code "unsupported".
 * docs/protocol.md has both dialects.
 *
 * What the server would refuse is refused at the call: a TypeError if it is of the wrong type, or no JSON value;
 * a RangeError for a name that is illegal or reserved ("error" and "grab" are, for events), NaN, an infinity, an
 * integer beyond 64 bits, a lone surrogate, and what exceeds one of the limits. Methods that return a promise
 * reject it with these. A callback that throws is reported as an uncaught error and does not stop the others.
 *
 * What cannot be sent at once waits in the outbox: up to 1,000 packets, 1 MiB and 5 minutes. Beyond these, sending
 * fails with a `SonoError`, "outbox-full" or "not-sent".
 */

/** Payload of an event. `from` is the sender's id; what the server itself says has none. */
export interface Payload<T = any> {
  message: T;
  from?: string;
}

/** Payload of the event "error": the server refused something that this client sent. */
export interface ErrorPayload {
  code: string;
  message: string;
}

/** Payload of the event "grab": any reply to `grab`, `type` being the kind that was asked for. */
export interface GrabPayload {
  message: string[];
  type: string;
  truncated?: boolean;
}

/** A list that was asked for; `truncated` if the server left names out, because there were too many. */
export type Listing = string[] & { truncated?: true };

/** What the server accepts: bytes of a packet, characters of a name, levels, and objects and arrays. */
export interface Limits {
  maxMessage?: number;
  maxName?: number;
  maxDepth?: number;
  maxContainers?: number;
}

/** The lists that a server knows; it answers any other kind with `["invalid grab request"]`. */
export type GrabKind = "myid" | "clients" | "channels" | "mychannel" | "mychannelclients";

/** A place in a stream: its epoch, which stands for one life of the stream, and an offset. */
export type Position = [epoch: string, offset: number];

export interface Options {
  /**
   * "classic" offers no subprotocol. "v2" never falls back: use it where the server is known to speak sono.v2,
   * as a browser does not tell a server that is away from one that knows classic only. Without it both are
   * tried, and what the server spoke is remembered for as long as the page lives.
   */
  dialect?: "classic" | "v2";
  /** Who this is; a function is asked before each connection, and when the server asks for a fresh one. */
  token?: string | (() => string | Promise<string>);
  /** Subprotocols to offer instead. */
  protocols?: string | string[];
  /** Of the server, if they are not the usual ones. */
  limits?: Limits;
}

/** Something that was not done. A program decides by `code`: those of section 7 of docs/protocol.md, and these. */
export declare class SonoError extends Error {
  /** The message is the code if it is left out. */
  constructor(code: string, message?: string, temporary?: boolean);
  /**
   * Of the client itself: "unknown" if it cannot be known whether it was done; "not-sent" if it was given up before
   * it was sent; "timeout" if no reply came in time; "outbox-full"; "closed" after the end; "unsupported" in the
   * classic dialect.
   */
  readonly code: string;
  /** Whether it may go well later. */
  readonly temporary: boolean;
}

/** Where an event came from. What has no position is volatile. */
export interface About {
  from?: string;
  at?: Position;
  offset?: number;
  /** "#" and the channel; "@" if it is for this client alone, "*" if it is for everybody. */
  stream: string;
  channel?: string;
}

/** Entries of a stream that could not be had, the first and the last one; null if it is not known how many. */
export interface Gap {
  stream: string;
  from: number | null;
  to: number | null;
}

/** The state of a client. It comes back from "waiting" by itself, and from "closed" never. */
export interface Status {
  state: "connecting" | "open" | "waiting" | "closed";
  /** Milliseconds until the next attempt, while it waits. */
  retryIn?: number;
  /** Why it has closed. */
  event?: { code: number; reason?: string };
}

/** Who came or changed, and who went. After a snapshot `in` is everybody: `members` of the room is who is there. */
export interface Presence {
  in: [id: string, data: any][];
  out: string[];
  count: number;
}

export interface History {
  /** The newest last. */
  entries: { at: Position; event: string; data: any; from?: string }[];
  /** Whether there are older ones. */
  more: boolean;
}

export interface PublishOptions {
  /** Whether this client hears it too; true if left out. */
  self?: boolean;
  /** Send it now or not at all, to those who are there, without a position and without a result. */
  volatile?: boolean;
}

/** A channel that this client is a member of. */
export interface Room {
  readonly channel: string;
  /** Who is there, with their public data, if the room was joined with `presence`. */
  readonly members: ReadonlyMap<string, any>;
  /** Calls back for every such event of this channel, and at "gap" with what could not be had. */
  on(event: "gap", callback: (gap: Gap) => void): void;
  on<T = any>(event: string, callback: (data: T, about: About) => void): void;
  /** Stops calling back for this event: one callback, or all of them. */
  off(event: string, callback?: (...args: any[]) => void): void;
  /** Calls back when `members` has changed. */
  onpresence(callback: (presence: Presence) => void): void;
  /** Calls back when the server has ended the membership. */
  onleave(callback: (about: { code: string }) => void): void;
  /** Says something to all members; resolves with its position, when it is published. */
  publish(event: string, data: unknown, options?: PublishOptions): Promise<Position | undefined>;
  /** Sets one's own public data in this channel. */
  present(data: unknown): Promise<void>;
  /** What was said, up to a position. */
  history(options?: { before?: Position; limit?: number }): Promise<History>;
  /** Ends the membership. */
  leave(): Promise<void>;
}

export declare class SonoClient {
  /**
   * Connects at once, through `globalThis.WebSocket`; after `token` was asked, if that is a function.
   * @param options or the subprotocols to offer, as the original client took them
   * @throws {SyntaxError} if the address is not one of a WebSocket
   */
  constructor(url: string | URL, options?: Options | string | string[], limits?: Limits);

  /** The address that the client connects to, as the WebSocket resolved it. */
  readonly url: string;

  /** State of the connection: 0 connecting, or waiting to do so; 1 open, 2 closing, 3 closed. */
  readonly readyState: 0 | 1 | 2 | 3;

  /** Sends to every client in the current channel, this one included. `event` is "message" if left out. */
  message(message: unknown, event?: string): void;

  /** Sends to every other client in the current channel. `event` is "message" if left out. */
  broadcast(message: unknown, event?: string): void;

  /** Sends to one client, in whatever channel it is. `event` is "message" if left out. */
  directmessage(message: unknown, to: string | number, event?: string): void;

  /** Leaves the current channel and enters another; if the server refuses, it sends an "error" event. */
  changeChannel(name: string): void;

  /**
   * Asks the server for a list, which the callback gets before the promise settles. Rejects if it cannot be sent,
   * or if the connection closes first (silently, for those who only use the callback). In sono.v2 there is no list
   * of all "clients".
   */
  grab(kind: GrabKind | (string & {}), callback?: (list: Listing) => void): Promise<Listing>;

  /** Becomes a member of a channel beside the current one; with `presence`, hears who is there. */
  join(channel: string, options?: { presence?: boolean }): Promise<Room>;

  /** Ends a membership that `join` began. */
  leave(channel: string): Promise<void>;

  /** Says something to all members of a channel; resolves with its position, when it is published. */
  publish(channel: string, event: string, data: unknown, options?: PublishOptions): Promise<Position | undefined>;

  /** Says something to one client; resolves when the server has it. */
  send(to: string, event: string, data: unknown, options?: { volatile?: boolean }): Promise<void>;

  /** Asks the server; `timeout` is in milliseconds, 30,000 if left out, and 300,000 at most. */
  request<T = any>(name: string, data?: unknown, options?: { timeout?: number }): Promise<T>;

  /** Sets one's own public data in a channel. */
  present(channel: string, data: unknown): Promise<void>;

  /** Answers the server's requests of that name: with what the handler returns, or the `SonoError` that it throws. */
  onrequest<T = any>(name: string, handler: (data: T) => unknown): void;

  /**
   * Ends the session, and the connection. `code` and `reason` are the WebSocket's, in the classic dialect and
   * while it connects; in sono.v2 the server closes with 1000.
   */
  close(code?: number, reason?: string): void;

  /** Calls back when the connection opens, in sono.v2 once a session, or soon if it is open already. */
  onconnection(callback: () => void): void;

  /** Calls back when the client has closed for good, or could not connect, or soon if that is past. */
  onclose(callback: (event: CloseEvent) => void): void;

  /** Calls back with each state, and soon with the present one. */
  onstatus(callback: (status: Status) => void): void;

  /** Calls back when a session was begun or resumed. In a new one, what it missed is told as gaps. */
  onsession(callback: (session: { id: string; resumed: boolean; channel: string }) => void): void;

  /** Calls back when the server has made this client a member of a channel. */
  onjoin(callback: (room: Room) => void): void;

  /** Calls back when entries of any stream could not be had. */
  ongap(callback: (gap: Gap) => void): void;

  /** Calls back with the payload of every such event, whatever stream it is of. */
  on(event: "error", callback: (payload: ErrorPayload) => void): void;
  on(event: "grab", callback: (payload: GrabPayload) => void): void;
  on<T = any>(event: string, callback: (payload: Payload<T>, about: About) => void): void;

  /** Stops calling back for this event: one callback, or all of them. */
  off(event: string, callback?: (...args: any[]) => void): void;

  /** Calls the event's callbacks here, as if the server had sent it; sends nothing. */
  trigger(event: string, payload?: unknown): void;
}
