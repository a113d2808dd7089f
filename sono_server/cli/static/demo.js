/**
 * The demo chat, over sono.v2. The server knows who is in a channel, numbers what is said there,
 * and keeps it for those who lose their connection; sono.js comes back and asks for it. So the pages
 * agree on little:
 *
 *   {name}            what a member lets the others know of itself
 *   chat {text, key}  to everyone in the channel; by the key a page knows its own words again
 *   private {text}    to one person
 *
 * What others send is checked for its type, cut to length, and shown only as text.
 */

import { add, cleanName, cleanText, clear, hasName, hueClass, label, members, mine, remove } from "/people.js";
import { SonoClient, SonoError } from "/sono.js";

const LOG_LENGTH = 500; // lines kept on the page
const LIST_LENGTH = 200; // rows shown of channels and of people
const RENDER_DELAY = 50; // milliseconds in which what others do is shown together
const CHANNELS_DELAY = 1000; // milliseconds between two looks at which channels there are

const STATES = new Map([
  ["connecting", "Connecting…"],
  ["open", "Connected"],
  ["offline", "Offline"],
  ["closed", "Disconnected"],
]);
const FAILURES = new Map([
  ["unknown", "It may not have arrived."],
  ["unknown-client", "Not sent: they are gone."],
  ["not-a-member", "Not sent: you are in another channel."],
]);

const element = (id) => document.getElementById(id);

let sono = null;
let status = { state: "closed" };
let nextTry = 0; // milliseconds, on the clock of performance.now
let isAway = false; // whether the connection was lost, or could not be opened
let myName = "";
let myId = "";
let room = null; // the channel that I am in
let channel = ""; // its name, or of the one that I am about to enter
let visit = 0; // grows with every entrance, so that answers about an earlier one are dropped
let total = 0; // people in the channel, of whom the server names the first thousand
let atEnd = true; // whether the end of the log is in view, and should stay so
let logHeight = 0; // of the visible part, in pixels, when atEnd was last acted upon
let renderTimer = 0; // of what others did and is not shown yet
let channelsTimer = 0; // of the next look at which channels there are
let bannerTimer = 0; // of the seconds that the banner counts
const unheard = new Map(); // key -> line of mine that has not come back from the channel
const collator = new Intl.Collator();

// --- The connection ----------------------------------------------------------------------

function connect() {
  room = null;
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
  sono = new SonoClient(url, { dialect: "v2" }); // which the server of this page speaks
  sono.onstatus(handleStatus);
  sono.onsession(handleSession);
  sono.ongap(handleGap);
  sono.on("chat", hearChat);
  sono.on("private", hearPrivate);
  sono.on("message", hearMessage);
  sono.on("error", ({ message }) => note(`The server refused: ${cleanText(message)}`, "bad"));
}

function handleStatus(now) {
  status = now;
  nextTry = performance.now() + (now.retryIn ?? 0);
  if (now.state !== "connecting") isAway = now.state !== "open";
  showStatus();
}

/** A session outlives its connections. In a new one nobody knows me. */
function handleSession({ id, resumed }) {
  if (resumed) return;
  if (mine.size > 0) note("The server no longer knew you. Private messages to you may be lost.", "bad");
  mine.set(id, myName);
  myId = id;
  clear();
  if (room) room.present({ name: myName }).catch(ignore); // sono.js has entered it again
  else enter(channel);
}

function handleGap({ stream, from, to }) {
  const lost = from === null ? "Some messages" : from === to ? "1 message" : `${to - from + 1} messages`;
  if (stream === `#${room?.channel}`) note(`${lost} of ${room.channel} could not be had`, "bad");
  if (stream === "@") note("Private messages to you may be missing", "bad");
}

/** Enters a channel; without a name, the one where the server has put me. */
async function enter(name) {
  const entrance = ++visit;
  try {
    if (name) sono.changeChannel(name);
    channel = name || (await sono.grab("mychannel"))[0];
    const joining = sono.join(channel, { presence: true });
    sono.present(channel, { name: myName }).catch(ignore); // at once, so that I come with a name
    const entered = await joining;
    if (entrance === visit) arrive(entered);
  } catch (error) {
    // What the server refuses, the event "error" tells.
    if (!(error instanceof SonoError)) note(`There is no such channel: ${error.message}`, "bad");
    if (entrance === visit) channel = room?.channel ?? "";
  }
}

function arrive(entered) {
  room = entered;
  room.onpresence(({ count }) => entered === room && lookAround(count));
  room.onleave(() => entered === room && handleLeave());
  clear();
  note(`You are in ${channel}`);
  lookAround(room.members.size); // some may have been told already
  showStatus();
  render();
  lookForChannels();
}

/** The server has ended my membership. */
function handleLeave() {
  note(`You are no longer in ${room.channel}`, "bad");
  room = null;
  showStatus();
  enter("");
}

function switchTo(name) {
  if (name === channel) return;
  if (status.state === "open") enter(name);
  else note("You can change the channel when you are back", "bad");
}

/** Sees who came and who went. */
function lookAround(count) {
  const isFirst = members.size === 0;
  for (const id of [...members.keys()]) {
    if (room.members.has(id)) continue;
    if (hasName(id)) note(`${label(id)} left`);
    remove(id);
  }
  for (const [id, data] of room.members) {
    if (members.has(id) && members.get(id) === data) continue;
    if (add(id, data) && !isFirst && id !== myId) note(`${label(id)} joined`);
  }
  total = count;
  renderSoon();
  lookForChannelsSoon();
}

function lookForChannelsSoon() {
  channelsTimer ||= setTimeout(lookForChannels, CHANNELS_DELAY);
}

/** Nobody tells when a channel is made, so this asks when there is a reason to. */
function lookForChannels() {
  clearTimeout(channelsTimer);
  channelsTimer = 0;
  if (room && status.state === "open") sono.grab("channels", renderChannels);
}

function ignore() {}

// --- What others say ---------------------------------------------------------------------

function hearChat({ message, from }) {
  if (typeof from !== "string" || typeof message?.text !== "string") return;
  const line = mine.has(from) && unheard.get(message.key);
  if (!line) return logMessage({ from, text: cleanText(message.text) });
  unheard.delete(message.key);
  mark(line, "sent");
  place(line); // where the channel has it
}

function hearPrivate({ message, from }) {
  if (typeof from !== "string" || typeof message?.text !== "string") return;
  logMessage({ from, text: cleanText(message.text), tag: "Private, to you" });
}

/** Simpler programs, and the server itself, send the event "message". */
function hearMessage({ message, from }) {
  const text = cleanText(message);
  if (typeof from === "string") logMessage({ from, text });
  else note(`Server: ${text}`);
}

// --- The log -----------------------------------------------------------------------------

/** One message; `tag` says that it is private, and between whom. */
function logMessage({ from, text, tag = "" }) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const line = make("li", "message");
  line.dataset.from = from;
  line.dataset.speaker = tag ? "" : `${from} ${time}`;
  line.classList.toggle("mine", mine.has(from));
  line.classList.toggle("direct", tag !== "");
  line.classList.toggle("guest", !hasName(from));
  if (tag) line.append(make("span", "tag", tag));
  line.append(make("span", `author ${hueClass(from)}`, label(from)), make("time", "", time), make("span", "text", text));
  append(line);
  return line;
}

/** A line of the page's own. */
function note(text, mood = "") {
  append(make("li", `system ${mood}`, text));
}

function append(line) {
  const log = element("log");
  place(line);
  while (log.childElementCount > LOG_LENGTH) log.firstElementChild.remove();
  followEnd();
}

/** Puts a line at the end, but before those that are being sent, whose place is not known yet. */
function place(line) {
  const log = element("log");
  const next = line.classList.contains("sending") ? null : log.querySelector(".sending");
  const former = line.nextElementSibling;
  if (!line.isConnected || former !== next) log.insertBefore(line, next);
  for (const moved of [line, next, former]) {
    const speaker = moved?.dataset.speaker;
    moved?.classList.toggle("follow", !!speaker && speaker === moved.previousElementSibling?.dataset.speaker);
  }
}

/** Shows whether a line of mine has been sent, or why not; then `retry` sends it again. */
function mark(line, state, why = "", retry = null) {
  line.classList.remove("sending", "sent", "failed");
  line.classList.add(state);
  line.querySelector(".state")?.remove();
  const shown = make("span", "state", { sending: "Sending…", sent: "Sent", failed: why }[state]);
  if (retry) {
    const again = make("button", "again", "Send again");
    again.type = "button";
    again.addEventListener("click", retry);
    shown.append(" ", again);
  } else {
    shown.ariaLive = "off"; // only what fails is worth a screen reader's words
  }
  line.append(shown);
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

/** Shows what others did, together with what else they do in the next moment. */
function renderSoon() {
  renderTimer ||= setTimeout(render, RENDER_DELAY);
}

/** Shows the channel, its people and the recipients. */
function render() {
  clearTimeout(renderTimer);
  renderTimer = 0;
  const others = [...members.keys()].filter((id) => id !== myId).map((id) => ({ id, text: label(id) }));
  others.sort((a, b) => collator.compare(a.text, b.text));
  const shown = others.slice(0, LIST_LENGTH).map(({ id }) => id);
  setText(element("channel-title"), room?.channel ?? "");
  setText(element("people-count"), total > 0 ? String(total) : "");
  syncList(element("people"), room ? [myId, ...shown] : shown, makePerson, fillPerson);
  const chosen = element("recipient").value;
  const recipients = chosen && !shown.includes(chosen) ? [chosen, ...shown] : shown;
  syncList(element("recipient"), ["", ...recipients], makeRecipient, fillRecipient);
  element("recipient").value = chosen;
  showRecipient();
  for (const line of document.querySelectorAll(".message.guest")) nameAuthor(line);
}

/** A message may come before its sender's name. */
function nameAuthor(line) {
  const { from } = line.dataset;
  if (!hasName(from)) return;
  setText(line.querySelector(".author"), label(from));
  line.classList.remove("guest");
}

function renderChannels(list) {
  const rows = list.slice(0, LIST_LENGTH);
  if (room && !rows.includes(room.channel)) rows.unshift(room.channel);
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
  const isCurrent = String(name === room?.channel);
  if (row.getAttribute("aria-current") === isCurrent) return;
  row.setAttribute("aria-current", isCurrent);
  if (name === room?.channel) requestAnimationFrame(() => row.scrollIntoView({ block: "nearest", inline: "nearest" }));
}

const keys = new WeakMap(); // row of a list -> what it stands for

/** Gives a list one row a key, in their order; rows that stay are kept, and with them the focus. */
function syncList(list, wanted, makeRow, fillRow) {
  const rows = new Map();
  const isWanted = new Set(wanted);
  for (const row of [...list.children]) {
    if (keys.has(row) && isWanted.has(keys.get(row))) rows.set(keys.get(row), row);
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

/** Says how the connection is. While it is away that is one word, however often it is tried. */
function showStatus() {
  const { state, event } = status;
  const isOffline = isAway || navigator.onLine === false;
  const shown = isOffline && state !== "closed" ? "offline" : state;
  element("status").dataset.state = shown;
  setText(element("status"), STATES.get(shown));
  document.body.classList.toggle("away", isOffline);
  element("send-button").disabled = !room || state === "closed";
  element("banner").classList.toggle("shown", isOffline);
  element("banner-button").hidden = !isOffline || state === "open";
  element("banner-button").disabled = state === "connecting";
  setText(element("banner-button"), state === "closed" ? "Reconnect" : "Try now");
  setText(element("banner-text"), isOffline ? reason(state, event) : "");
  countDown();
}

function reason(state, event) {
  if (state === "closed") return event.code === 4012 ? "Another connection has taken your place." : "The connection has ended.";
  if (!room) return "The server cannot be reached.";
  return "You are offline. What you write is sent when you are back.";
}

function countDown() {
  const seconds = Math.max(1, Math.ceil((nextTry - performance.now()) / 1000));
  const isWaiting = status.state === "waiting";
  const isTrying = isAway && status.state === "connecting";
  setText(element("banner-wait"), isWaiting ? `Next try in ${seconds} s` : isTrying ? "Trying…" : "");
  clearTimeout(bannerTimer);
  if (isWaiting) bannerTimer = setTimeout(countDown, 250);
}

function tryNow() {
  // What a browser says when the network is back: then sono.js does not wait.
  if (status.state === "closed") connect();
  else dispatchEvent(new Event("online"));
  element("message-input").focus();
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
  if (!text || element("send-button").disabled) return;
  const tag = to ? `Private, to ${element("recipient").selectedOptions[0].textContent}` : "";
  atEnd = true;
  post(logMessage({ from: myId, text, tag }), { to, channel, text, key: Math.random().toString(36).slice(2) });
  input.value = "";
}

/** Sends what a line of mine says; while there is no connection sono.js keeps it. */
async function post(line, message) {
  const { to, channel, text, key } = message;
  mark(line, "sending");
  place(line);
  if (!to) unheard.set(key, line);
  try {
    await (to ? sono.send(to, "private", { text }) : sono.publish(channel, "chat", { text, key }));
    mark(line, "sent");
    if (to) place(line);
  } catch ({ code, message: why }) {
    const isHeard = !to && !unheard.has(key);
    if (!isHeard) mark(line, "failed", FAILURES.get(code) ?? `Not sent: ${cleanText(why)}.`, () => post(line, message));
  }
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
element("banner-button").addEventListener("click", tryNow);
for (const type of ["pointerenter", "focusin"]) {
  element("channels").addEventListener(type, lookForChannelsSoon);
}
for (const type of ["online", "offline"]) addEventListener(type, showStatus);
addEventListener("pagehide", ({ persisted }) => {
  if (!persisted) sono?.close(); // else the browser may show the page again, and it comes back
});
