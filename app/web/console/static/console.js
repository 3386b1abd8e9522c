// The console's script. Every page works without it; it adds what a server cannot do.
"use strict";

// Theme: the system's, unless chosen here.
const root = document.documentElement;
const chosen = localStorage.getItem("theme");
if (chosen) root.dataset.theme = chosen;

// The menu and filters are always open where there is room for them.
function openWhere(selector, query) {
  const wide = matchMedia(query);
  const open = () => document.querySelectorAll(selector).forEach((part) => { part.open = wide.matches; });
  wide.addEventListener("change", open);
  open();
}
openWhere(".menu", "(min-width: 60rem)");
openWhere("details.filters", "(min-width: 40rem)");

// Times that are shown as "2 min ago" follow the clock.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
function duration(seconds) {
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count || parts.length) parts.push([count, unit]);
  }
  const shown = parts.length && parts[0][1] === "min" ? parts.slice(0, 1) : parts.slice(0, 2);
  return shown.filter(([count]) => count).map((part) => part.join(" ")).join(" ") || "0 s";
}
function relate(time) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  time.textContent = Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
}
setInterval(() => document.querySelectorAll("time[data-relative]").forEach(relate), 10000);

// A part with data-refresh="SECONDS" and an id is loaded again from the same page.
async function refresh(part) {
  if (!part.dataset.refresh || document.hidden || part.contains(document.activeElement)) return;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.redirected) location.reload(); // signed out
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById(part.id);
    const opened = [...part.querySelectorAll("details")].map((details) => details.open);
    if (fresh) part.replaceChildren(...fresh.childNodes);
    const details = part.querySelectorAll("details");
    if (details.length === opened.length) details.forEach((shown, index) => { shown.open = opened[index]; });
    if (fresh && !fresh.dataset.refresh) delete part.dataset.refresh; // It changes no more.
    prepare(part);
  } catch (error) {
    // The server restarts, or the network is away: the next round tries again.
  }
}
for (const part of document.querySelectorAll("[data-refresh]")) {
  setInterval(() => refresh(part), Number(part.dataset.refresh) * 1000);
}

function prepare(within) {
  within.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = !navigator.clipboard; });
  within.querySelectorAll(".scroll > table").forEach(label);
}

// On a narrow screen each row of a table is a card, and its cells have the heads of their columns beside them.
function label(table) {
  const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
  table.classList.add("labeled");
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  const templates = [...document.querySelectorAll("template")].flatMap((given) => [...given.content.querySelectorAll("tr")]);
  for (const row of [...rows, ...(table.querySelector("#rows") ? templates : [])]) {
    [...row.cells].forEach((cell, index) => { if (cell.textContent.trim() || cell.dataset.cell || cell.querySelector("input")) cell.dataset.label = heads[index]; });
  }
}
prepare(document);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.copy !== undefined) {
    const code = button.closest(".code");
    await navigator.clipboard.writeText(button.dataset.copy || code.querySelector("pre").textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  }
  if (button.dataset.themeSwitch !== undefined) {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  }
});

// The slider of an order names the moment that it stands at, and leads there when the pointer lets it go, or by Enter.
let dragged = false;
document.addEventListener("pointerdown", (event) => { dragged = event.target.matches("[data-moments]"); });
document.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-moments]");
  if (!slider) return;
  const moment = slider.dataset.moments.split(",")[Number(slider.value)];
  slider.form.querySelector("output").value = moment ? `${moment.slice(0, 10)} ${moment.slice(11, 19)} UTC` : "now";
});

// A choice in a filter takes effect at once.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]") || (dragged && event.target.matches("[data-moments]"))) event.target.form.requestSubmit();
});

// Of the groups of fields below a choice, that one is shown which is chosen.
function showChosen(choice) {
  const name = choice.value || choice.dataset.chooser;
  for (const group of choice.form.querySelectorAll("fieldset[data-group]")) group.hidden = group.disabled = group.dataset.group !== name;
}
const choosers = () => document.querySelectorAll("select[data-chooser]").forEach(showChosen);
choosers(); // A browser that loads a page again keeps what was chosen.
document.addEventListener("change", (event) => { if (event.target.matches("select[data-chooser]")) showChosen(event.target); });

// Empty filters stay out of the URL.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("[data-filters]")) {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  }
  // A form is sent once.
  if (form.method === "post" && !event.submitter?.formTarget) setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form :disabled").forEach((field) => { field.disabled = false; });
  choosers();
});

// Keys: "/" searches; "g" and a letter leads to a page.
const PAGES = { o: "/orders", e: "/events", r: "/receipts", q: "/quarantine", c: "/cancellations", p: "/policies", h: "/" };
let gone = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "g") {
    gone = Date.now();
  } else if (Date.now() - gone < 1500 && PAGES[event.key]) {
    location.href = PAGES[event.key];
  }
});
