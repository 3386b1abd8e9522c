// The live tail of the events page: rows are added as events are recorded, without gaps, the newest first.
"use strict";

const ROWS_MAX = 200;
const WAITING_MAX = 500;
const OVERLAP_MS = 5000;
const SAY_MS = 3000;

const rows = document.getElementById("rows");
const template = document.getElementById("row");
const state = document.getElementById("tail-state");
const news = document.getElementById("tail-news");
const pause = document.getElementById("tail-pause");

let waiting = [];
let skipped = 0;
let added = 0;
let paused = false;
const shown = new Set([...rows.children].map((row) => row.dataset.id));
const oldest = rows.lastElementChild ? Date.parse(rows.lastElementChild.querySelector("time").dateTime) : 0;

function address() {
  const query = new URLSearchParams(location.search);
  ["since", "until", "cursor", "live", "limit"].forEach((name) => query.delete(name));
  // The page was made a moment ago: begin before its newest row, and leave out what it shows.
  query.set("since", new Date(Date.parse(rows.dataset.since) - OVERLAP_MS).toISOString());
  return `/events/stream?${query}`;
}

function say(text, tone) {
  state.textContent = text;
  state.className = `badge ${tone}`;
}

function link(cell, href, text) {
  const anchor = cell.querySelector("a");
  anchor.href = href;
  anchor.textContent = text;
}

function row(event) {
  const made = template.content.firstElementChild.cloneNode(true);
  const part = encodeURIComponent;
  made.dataset.id = event.id;
  const time = made.querySelector("time");
  time.dateTime = event.received_at;
  time.textContent = event.received_at.replace("T", " ").slice(0, 19);
  link(made.querySelector("[data-cell=event]"), `/events/${part(event.id)}`, event.type);
  link(made.querySelector("[data-cell=account]"), `/accounts/${part(event.account)}`, event.account);
  const order = made.querySelector("[data-cell=order]");
  if (event.order) link(order, `/orders/${part(event.account)}/${part(event.order)}`, event.order);
  else order.replaceChildren();
  made.querySelector("[data-cell=source]").textContent = event.source;
  made.querySelector("[data-cell=says]").textContent = visible(words(event));
  return made;
}

// As app/web/console/wording.py says it.
function words(event) {
  const plain = (text) => String(text || "").replaceAll("_", " ");
  const moment = (time) => `${new Date(time).toISOString().replace("T", " ").slice(0, 19)} UTC`;
  const facts = event.facts || {};
  const data = event.data || {};
  const parts = [];
  if (facts.phase) parts.push(`phase ${plain(facts.phase)}`);
  if (facts.provider_status) parts.push(`provider status ${facts.provider_status}`);
  if (facts.opened_at) parts.push(`opened at ${moment(facts.opened_at)}`);
  for (const { id, status, starts_at: start, ends_at: end } of facts.appointments || []) {
    const named = start && String(id).startsWith(start.slice(0, 19)) ? "" : `${id} `;
    const until = start && end ? ` to ${moment(end)}` : "";
    parts.push(`appointment ${named}${status}${start ? ` for ${moment(start)}` : ""}${until}`);
  }
  if (facts.appointments_complete && !(facts.appointments || []).length) parts.push("no appointments");
  if ((facts.aliases || []).length) parts.push(`also named ${facts.aliases.join(", ")}`);
  if ((facts.shared_aliases || []).length) parts.push(`refers to ${facts.shared_aliases.join(", ")}`);
  if (facts.snapshot) parts.push("a snapshot of the order");
  let line = parts.join("; ");
  if (!line && data.decisions) line = data.decisions.map((one) => `${one.policy}: ${one.detail || plain(one.outcome)}`).join(" ");
  if (!line && data.clauses) line = `${data.policy ? `policy ${data.policy}: ` : ""}${data.detail || plain(data.outcome)}`;
  else if (!line && data.tags) line = `tags ${data.tags.join(", ") || "none"}`;
  else if (!line) line = (data.changes || {}).detail || data.detail || data.reason || plain(data.cause);
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}

// Marks for what cannot be seen, and for what turns the direction of text.
function visible(text) {
  return String(text).replace(/[\u0000-\u001f\u007f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, (char) => {
    const code = char.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

function draw() {
  pause.textContent = paused ? `Resume${waiting.length ? ` (${waiting.length} waiting)` : ""}` : "Pause";
  if (paused || !waiting.length) return;
  const fresh = waiting.map(row);
  fresh.forEach((made) => made.classList.add("fresh"));
  added += fresh.length;
  waiting = [];
  rows.prepend(...fresh.reverse());
  while (rows.children.length > ROWS_MAX) {
    shown.delete(rows.lastElementChild.dataset.id);
    rows.lastElementChild.remove();
  }
  document.getElementById("none")?.remove();
}

function take(event) {
  if (shown.has(event.id) || Date.parse(event.received_at) < oldest) return;
  shown.add(event.id);
  waiting.push(event);
  if (waiting.length > WAITING_MAX) {
    shown.delete(waiting.shift().id);
    skipped += 1;
  }
}

// One sentence in a while, so that a screen reader can follow.
function report() {
  if (!added && !skipped) return;
  const left = skipped ? ` ${skipped} older ones came too fast and are left out here: filter, or load the page again.` : "";
  news.textContent = `${added} new event${added === 1 ? "" : "s"}.${left}`;
  added = 0;
  skipped = 0;
}

const source = new EventSource(address());
source.addEventListener("open", () => say(paused ? "paused" : "live", paused ? "warn" : "good"));
source.addEventListener("message", (message) => take(JSON.parse(message.data)));
source.addEventListener("reset", () => {
  say("gap", "warn");
  news.textContent = "The log was restored from a backup, or events were pruned: what is shown above may have a gap. Load the page again.";
});
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) {
    say("ended", "bad");
    news.textContent = "The stream ended: you are signed out, or too many are open. Load the page again.";
  } else {
    say("reconnecting", "warn");
  }
});
pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  say(paused ? "paused" : "live", paused ? "warn" : "good");
  draw();
});
addEventListener("pagehide", () => source.close());
setInterval(draw, 200);
setInterval(report, SAY_MS);
