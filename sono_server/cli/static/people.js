/**
 * Who is in the channel, and what to call them. All of it comes from outside: names are cut to
 * length and looked up only in a Map.
 */

const NAME_LENGTH = 32; // characters, as in the name field
const TEXT_LENGTH = 2000; // characters, as in the message field
const KNOWN_LENGTH = 1000; // names kept of people who have left

export const mine = new Map(); // id -> name, of myself: each session has an id of its own
export const members = new Map(); // id -> what it lets others know, of those in the channel
const names = new Map(); // id -> name, of those members who have one
const holders = new Map(); // name -> how many of these have it
const known = new Map(); // id -> name, of those who had one and are gone

/** Puts a member in, or what it lets others know now; true if it has a name for the first time. */
export function add(id, data) {
  const isNew = !names.has(id);
  members.set(id, data);
  dropName(id);
  const name = mine.get(id) ?? cleanName(data?.name);
  if (!name) return false;
  known.delete(id);
  names.set(id, name);
  holders.set(name, (holders.get(name) ?? 0) + 1);
  return isNew;
}

export function remove(id) {
  members.delete(id);
  dropName(id);
}

export function clear() {
  for (const id of [...members.keys()]) remove(id);
}

function dropName(id) {
  const name = names.get(id);
  if (name === undefined) return;
  names.delete(id);
  if (holders.get(name) === 1) holders.delete(name);
  else holders.set(name, holders.get(name) - 1);
  known.set(id, name);
  if (known.size > KNOWN_LENGTH) known.delete(known.keys().next().value);
}

/** Whether anything but its id is known of a client. */
export function hasName(id) {
  return mine.has(id) || names.has(id) || known.has(id);
}

/**
 * What to call a client: the name that it has in this channel; with the beginning of its id
 * if it is not here, if another has the same name, or if the name looks like another's label.
 */
export function label(id) {
  const name = mine.get(id) ?? names.get(id) ?? known.get(id);
  if (!name) return `Guest ${shortId(id)}`;
  const isPlain = names.has(id) && holders.get(name) === 1 && !/^guest\b|\)$/i.test(name);
  return mine.has(id) || isPlain ? name : `${name} (${shortId(id)})`;
}

function shortId(id) {
  return id.slice(0, 6);
}

export function hueClass(id) {
  let sum = 0;
  for (let i = 0; i < Math.min(id.length, 64); i++) sum = (sum * 31 + id.charCodeAt(i)) % 4093;
  return `hue-${sum % 8}`;
}

/** A name in one line, or "" if it shows nothing. */
export function cleanName(value) {
  if (typeof value !== "string") return "";
  const name = cut(value, NAME_LENGTH).replace(/[\p{Cc}\p{Cs}\p{Z}\u202a-\u202e\u2066-\u2069]+/gu, " ").trim();
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : "";
}

export function cleanText(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.length > TEXT_LENGTH ? `${cut(text, TEXT_LENGTH)}…` : text;
}

/** The beginning of a string, without half of a character at its end. */
function cut(text, length) {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, "");
}
