/** Types of the Sono client for browsers. The documentation of each member is in sono.js. */

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
}

/** The lists that a server knows; it answers any other kind with `["invalid grab request"]`. */
export type GrabKind = "myid" | "clients" | "channels" | "mychannel" | "mychannelclients";

export declare class SonoClient {
  /**
   * Connects at once, through `globalThis.WebSocket`.
   * @throws {SyntaxError} if the address is not one of a WebSocket
   */
  constructor(url: string | URL, protocols?: string | string[]);

  /** The address that the client connects to, as the WebSocket resolved it. */
  readonly url: string;

  /** State of the connection: 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: 0 | 1 | 2 | 3;

  /** Sends to every client in the current channel, this one included. `event` is "message" if left out. */
  message(message: unknown, event?: string): void;

  /** Sends to every other client in the current channel. `event` is "message" if left out. */
  broadcast(message: unknown, event?: string): void;

  /** Sends to one client, in whatever channel it is. `event` is "message" if left out. */
  directmessage(message: unknown, to: string | number, event?: string): void;

  /** Leaves the current channel and enters another. */
  changeChannel(name: string): void;

  /** Asks the server for a list; rejects if it cannot be sent or the connection closes first. */
  grab(kind: GrabKind | (string & {}), callback?: (list: string[]) => void): Promise<string[]>;

  /** Closes the connection. */
  close(code?: number, reason?: string): void;

  /** Calls back when the connection opens, or soon if it is open already. */
  onconnection(callback: () => void): void;

  /** Calls back when the connection has closed or could not be made, or soon if that is past. */
  onclose(callback: (event: CloseEvent) => void): void;

  /** Calls back with the payload of every such event. */
  on(event: "error", callback: (payload: ErrorPayload) => void): void;
  on(event: "grab", callback: (payload: GrabPayload) => void): void;
  on<T = any>(event: string, callback: (payload: Payload<T>) => void): void;

  /** Stops calling back for this event: one callback, or all of them. */
  off(event: string, callback?: (payload: any) => void): void;

  /** Calls the event's callbacks here, as if the server had sent it; sends nothing. */
  trigger(event: string, payload?: unknown): void;
}
