/**
 * The demo chat. The classic protocol knows channels and ids but neither names nor presence,
 * so the pages agree on events of their own:
 *
 *   hello {name}         to all others, on entering a channel
 *   here {name}          to the one who said hello
 *   bye {name}           to all others, before leaving
 *   chat {name, text}    to everyone in the channel
 *   private {name, text} to one person
 *
 * The page asks the server every few seconds who is in the channel, because a page that
 * vanished said no bye. What others send is checked for its type, cut to length, looked up
 * only in a Map, and shown only as text.
 */

import { SonoClient } from "/sono.js";

const NAME_LENGTH = 32; // characters, as in the name field
const TEXT_LENGTH = 2000; // characters, as in the message field
const LOG_LENGTH = 500; // lines kept on the page
const LIST_LENGTH = 200; // rows shown of channels and of people
const REFRESH_INTERVAL = 3000; // milliseconds between two looks at who is here

const element = (id) => document.getElementById(id);

let sono = null;
let myName = "";
let myId = "";
let channel = ""; // the current one, empty before the first
let visit = 0; // grows with every entrance, so that answers about an earlier channel are dropped
let atEnd = true; // whether the end of the log is in view, and should stay so
let logHeight = 0; // of the visible part, in pixels, when atEnd was last acted upon
let lastSpeaker = null; // who wrote the last line of the log and when, to say that once a minute
const members = new Set(); // ids in the channel, mine included
const names = new Map(); // id -> name, of those members who said hello or here

// --- The connection ----------------------------------------------------------------------

function connect() {
  sono = new SonoClient(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  showStatus("connecting", "Connecting…");
  sono.onconnection(() => enter(channel));
  sono.onclose(handleClose);
  sono.on("hello", fromOthers(hearHello));
  sono.on("here", fromOthers(hearHere));
  sono.on("bye", fromOthers(hearBye));
  sono.on("chat", hearChat);
  sono.on("private", fromOthers(hearPrivate));
  sono.on("message", hearMessage);
  sono.on("error", ({ message }) => note(`The server refused: ${cleanText(message)}`, "bad"));
}

function handleClose() {
  const wasIn = members.size > 0;
  visit++;
  members.clear();
  names.clear();
  render();
  showStatus("dropped", wasIn ? "Disconnected" : "Cannot connect");
  if (wasIn) note("The connection was lost. You will not receive what others send in the meantime.", "bad");
}

/** Introduces me to a channel; without a name, to the one where the server put me. */
async function enter(name) {
  const entrance = ++visit;
  if (name) sono.changeChannel(name);
  const [ids, channels] = await Promise.all([ask("myid"), ask("mychannel")]);
  if (entrance !== visit) return;
  [myId, channel] = [ids[0], channels[0]];
  members.clear();
  names.clear();
  members.add(myId);
  names.set(myId, myName);
  sono.broadcast({ name: myName }, "hello");
  showStatus("connected", "Connected");
  note(`You are in ${channel}`);
  render();
  refresh();
}

function switchTo(name) {
  if (name === channel || sono.readyState !== 1) return;
  sono.broadcast({ name: myName }, "bye");
  enter(name);
}

/** Asks the server who is here and which channels there are, and shows it. */
async function refresh() {
  const entrance = visit;
  const [ids, channels] = await Promise.all([ask("mychannelclients"), ask("channels")]);
  if (entrance !== visit || ids.length === 0) return;
  const present = new Set(ids);
  for (const id of [...members]) if (!present.has(id)) forget(id);
  for (const id of present) members.add(id);
  render();
  renderChannels(channels);
}

/** A list from the server; empty if the connection closed instead. */
async function ask(kind) {
  try {
    return await sono.grab(kind);
  } catch {
    return [];
  }
}

// --- What others say ---------------------------------------------------------------------

/** Makes a callback that skips what the server or I myself sent. */
function fromOthers(hear) {
  return ({ message, from }) => {
    if (typeof from === "string" && from !== myId) hear(from, message);
  };
}

function hearHello(from, message) {
  const isNew = !names.has(from);
  hearHere(from, message);
  if (isNew) note(`${label(from)} joined`);
  sono.directmessage({ name: myName }, from, "here");
}

function hearHere(from, message) {
  const name = cleanName(message?.name);
  members.add(from);
  names.set(from, name || names.get(from) || "");
  render();
}

function hearBye(from) {
  forget(from);
  render();
}

function hearChat({ message, from }) {
  if (typeof from !== "string" || typeof message?.text !== "string") return;
  logMessage({ from, author: authorOf(from, message), text: cleanText(message.text) });
}

function hearPrivate(from, message) {
  if (typeof message?.text !== "string") return;
  const author = authorOf(from, message);
  logMessage({ from, author, text: cleanText(message.text), tag: "Private, to you" });
}

/** Simpler programs, and the server itself, send the event "message". */
function hearMessage({ message, from }) {
  const text = cleanText(message);
  if (typeof from === "string") logMessage({ from, author: label(from), text });
  else note(`Server: ${text}`);
}

function forget(id) {
  if (names.has(id)) note(`${label(id)} left`);
  members.delete(id);
  names.delete(id);
}

// --- Names and text from outside ---------------------------------------------------------

/** A name in one line, or "" if it shows nothing. */
function cleanName(value) {
  if (typeof value !== "string") return "";
  const name = cut(value, NAME_LENGTH).replace(/[\p{Cc}\p{Z}\u202a-\u202e\u2066-\u2069]+/gu, " ").trim();
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : "";
}

function cleanText(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.length > TEXT_LENGTH ? `${cut(text, TEXT_LENGTH)}…` : text;
}

/** The beginning of a string, without half of a character at its end. */
function cut(text, length) {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, "");
}

/** What to call a client: its name, with the beginning of its id if another has the same. */
function label(id) {
  const name = names.get(id);
  if (!name) return `Guest ${shortId(id)}`;
  if (id === myId) return name;
  for (const [other, otherName] of names) {
    if (other !== id && otherName === name) return `${name} (${shortId(id)})`;
  }
  return name;
}

function authorOf(id, message) {
  return names.get(id) ? label(id) : cleanName(message.name) || label(id);
}

function shortId(id) {
  return id.slice(0, 6);
}

function hueClass(id) {
  let sum = 0;
  for (let i = 0; i < Math.min(id.length, 64); i++) sum = (sum * 31 + id.charCodeAt(i)) % 4093;
  return `hue-${sum % 8}`;
}

// --- The log -----------------------------------------------------------------------------

/** One message; `tag` says that it is private, and between whom. */
function logMessage({ from, author, text, tag = "" }) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const speaker = `${from} ${time}`;
  const line = make("li", "message");
  line.dataset.from = from;
  if (from === myId) line.classList.add("mine");
  if (tag) line.classList.add("direct");
  if (!tag && speaker === lastSpeaker) line.classList.add("follow");
  if (tag) line.append(make("span", "tag", tag));
  line.append(make("span", `author ${hueClass(from)}`, author), make("time", "", time), make("span", "text", text));
  append(line, from === myId);
  lastSpeaker = tag ? null : speaker;
}

/** A line of the page's own. */
function note(text, mood = "") {
  append(make("li", `system ${mood}`, text), false);
  lastSpeaker = null;
}

function append(line, isMine) {
  element("log").append(line);
  while (element("log").childElementCount > LOG_LENGTH) element("log").firstElementChild.remove();
  if (isMine) atEnd = true;
  followEnd();
}

/** The reader has scrolled, unless the box has just changed its size. */
function handleScroll() {
  const box = element("log-box");
  if (box.clientHeight === logHeight) atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
}

/** Also called when the box shrinks, for example for an on-screen keyboard. */
function followEnd() {
  const box = element("log-box");
  logHeight = box.clientHeight;
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// --- The lists ---------------------------------------------------------------------------

/** Shows the channel, its people and the recipients. */
function render() {
  const others = [...members].filter((id) => id !== myId);
  others.sort((a, b) => label(a).localeCompare(label(b)));
  const shown = others.slice(0, LIST_LENGTH);
  element("channel-title").textContent = channel;
  element("people-count").textContent = members.size > 0 ? String(members.size) : "";
  syncList(element("people"), members.has(myId) ? [myId, ...shown] : shown, makePerson, fillPerson);
  const chosen = element("recipient").value;
  const recipients = chosen && !shown.includes(chosen) ? [chosen, ...shown] : shown;
  syncList(element("recipient"), ["", ...recipients], makeRecipient, fillRecipient);
  element("recipient").value = chosen;
  showRecipient();
}

function renderChannels(list) {
  const rows = list.slice(0, LIST_LENGTH);
  if (!rows.includes(channel)) rows.unshift(channel);
  syncList(element("channels"), rows, makeChannel, fillChannel);
}

function makePerson(id) {
  const item = make("li", id === myId ? "self" : "");
  const row = make(id === myId ? "span" : "button", "row");
  row.append(make("span", `avatar ${hueClass(id)}`), make("bdi", "row-text"));
  row.firstElementChild.ariaHidden = "true";
  if (id === myId) row.append(make("span", "you", "you"));
  else row.addEventListener("click", () => writeTo(id));
  item.append(row);
  return item;
}

function fillPerson(item, id) {
  const [avatar, text] = item.firstElementChild.children;
  setText(avatar, [...label(id)][0].toUpperCase());
  setText(text, label(id));
  item.title = id === myId ? "You" : `Write to ${label(id)} privately`;
}

function makeRecipient(id) {
  const option = make("option", "");
  option.value = id;
  return option;
}

function fillRecipient(option, id) {
  if (id === "") setText(option, "Everyone here");
  else if (members.has(id)) setText(option, label(id));
  // Not dropped, or words meant for one would go to everyone.
  else if (!option.textContent.endsWith(" (not here)")) setText(option, `${option.textContent} (not here)`);
}

function makeChannel(name) {
  const item = make("li", "");
  const row = make("button", "row");
  row.type = "button";
  row.append(make("bdi", "row-text", name));
  row.addEventListener("click", () => switchTo(name));
  item.append(row);
  item.title = name;
  return item;
}

function fillChannel(item, name) {
  const row = item.firstElementChild;
  const isCurrent = String(name === channel);
  if (row.getAttribute("aria-current") === isCurrent) return;
  row.setAttribute("aria-current", isCurrent);
  if (name === channel) requestAnimationFrame(() => row.scrollIntoView({ block: "nearest", inline: "nearest" }));
}

const keys = new WeakMap(); // row of a list -> what it stands for

/** Gives a list one row a key, in their order; rows that stay are kept, and with them the focus. */
function syncList(list, wanted, makeRow, fillRow) {
  const rows = new Map();
  for (const row of [...list.children]) {
    if (keys.has(row) && wanted.includes(keys.get(row))) rows.set(keys.get(row), row);
    else row.remove();
  }
  wanted.forEach((key, index) => {
    const row = rows.get(key) ?? makeRow(key);
    keys.set(row, key);
    fillRow(row, key);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
  });
}

function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// --- What I do ---------------------------------------------------------------------------

function showStatus(state, text) {
  element("status").dataset.state = state;
  element("status").textContent = text;
  element("reconnect").hidden = state !== "dropped";
  element("send-button").disabled = state !== "connected";
}

function join(event) {
  event.preventDefault();
  myName = cleanName(element("name-input").value);
  if (!myName) {
    element("name-input").value = "";
    element("name-input").reportValidity();
    return;
  }
  element("welcome").hidden = true;
  element("chat").hidden = false;
  element("message-input").focus();
  connect();
}

function send(event) {
  event.preventDefault();
  const input = element("message-input");
  const text = input.value.trim();
  const to = element("recipient").value;
  if (!text || sono.readyState !== 1) return;
  const message = { name: myName, text };
  if (to) {
    sono.directmessage(message, to, "private");
    const tag = `Private, to ${element("recipient").selectedOptions[0].textContent}`;
    logMessage({ from: myId, author: label(myId), text, tag });
  } else {
    sono.message(message, "chat");
  }
  input.value = "";
}

/** Chooses who gets what I write: one person, or everyone for "". */
function writeTo(id) {
  element("recipient").value = id;
  showRecipient();
  element("message-input").focus();
}

function showRecipient() {
  const id = element("recipient").value;
  const isPrivate = id !== "";
  element("send-form").classList.toggle("private", isPrivate);
  element("recipient-hint").hidden = !isPrivate;
  setText(element("recipient-note"), members.has(id) ? "Only they will see it" : "They are not in this channel");
  element("message-input").placeholder = isPrivate ? "Write a private message" : "Write a message";
}

function enterTyped(event) {
  event.preventDefault();
  if (sono.readyState !== 1) return;
  const name = element("channel-input").value.trim();
  element("channel-input").value = "";
  if (name) switchTo(name);
  element("message-input").focus();
}

function handleEscape(event) {
  if (event.key !== "Escape" || event.isComposing) return;
  if (event.target === element("channel-input")) element("channel-input").value = "";
  writeTo("");
}

element("join-form").addEventListener("submit", join);
element("send-form").addEventListener("submit", send);
element("send-form").addEventListener("keydown", handleEscape);
element("channel-form").addEventListener("submit", enterTyped);
element("channel-form").addEventListener("keydown", handleEscape);
element("recipient").addEventListener("change", showRecipient);
element("log-box").addEventListener("scroll", handleScroll);
new ResizeObserver(followEnd).observe(element("log-box"));
element("reconnect").addEventListener("click", () => {
  connect();
  element("message-input").focus();
});
addEventListener("pagehide", () => {
  if (sono?.readyState === 1) sono.broadcast({ name: myName }, "bye");
});
setInterval(() => {
  if (sono?.readyState === 1) refresh();
}, REFRESH_INTERVAL);
