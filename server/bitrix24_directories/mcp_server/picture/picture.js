"use strict";
// Draws what a tool's result carries for the picture, and speaks to the host that shows this page (MCP Apps). Whatever
// came from the portal becomes text nodes, never markup.

const PICTURE = "bitrix24-directories/picture";
const ENGLISH = {
  records: "Records", again: "Read again", codes: "Show codes", unknown: "Codes that the directory does not have",
  notCounted: "not counted", unused: "unused", partial: "Not counted", more: "and more",
  before: "Now", after: "Then", added: "+ added", removed: "− removed", renamed: "✎ was called", moved: "⇅ moved",
  recoloured: "◐ another colour", refused: "Not in the plan", nothing: "There is nothing to show.",
  failed: "It could not be read again", process: "in progress", success: "✓ won", failure: "✕ lost", ids: "Records of",
  total: "records", waiting: "Waiting for the answer …",
};
const WORDS = {
  en: ENGLISH,
  ru: {
    records: "Записи", again: "Прочитать снова", codes: "Показать коды", unknown: "Коды, которых нет в справочнике",
    notCounted: "не посчитано", unused: "не используется", partial: "Не посчитано", more: "и ещё",
    before: "Сейчас", after: "Потом", added: "+ добавлено", removed: "− удалено", renamed: "✎ называлось",
    moved: "⇅ перемещено", recoloured: "◐ другой цвет", refused: "Не вошло в план", nothing: "Показывать нечего.",
    failed: "Прочитать снова не удалось", process: "в работе", success: "✓ успех", failure: "✕ провал",
    ids: "Записи с кодом", total: "записей", waiting: "Ждём ответа …",
  },
};
const MEANINGS = ["process", "success", "failure"];
const COLOUR = /^#[0-9a-f]{6}$/i;
const RIGHT_TO_LEFT = /^(ar|fa|he|ur)\b/;

const main = document.getElementById("picture");
let words = ENGLISH;
let last = null;

// --- the host ---------------------------------------------------------------------------------------------------

const waiting = new Map();
let requests = 0;

function send(message) {
  window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

function ask(method, params) {
  const id = ++requests;
  send({ id, method, params });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

const NOTIFIED = {
  "ui/notifications/tool-result": (result) => show(result),
  "ui/notifications/host-context-changed": (context) => use(context),
};

window.addEventListener("message", ({ source, data }) => {
  if (source !== window.parent || !data || data.jsonrpc !== "2.0") return;
  if (data.method === undefined) {
    const asked = waiting.get(data.id);
    waiting.delete(data.id);
    if (asked) "error" in data ? asked.reject(data.error) : asked.resolve(data.result);
  } else if (data.id === undefined) {
    NOTIFIED[data.method]?.(data.params || {});
  } else if (data.method === "ui/resource-teardown" || data.method === "ping") {
    send({ id: data.id, result: {} });
  } else {
    send({ id: data.id, error: { code: -32601, message: "Method not found" } });
  }
});

function use(context) {
  const root = document.documentElement;
  if (context.theme) root.dataset.theme = context.theme;
  if (typeof context.locale === "string") {
    const language = context.locale.toLowerCase().split("-")[0];
    words = WORDS[language] || ENGLISH;
    root.lang = WORDS[language] ? language : "en";
    root.dir = RIGHT_TO_LEFT.test(language) ? "rtl" : "ltr";
    if (last) show(last);
  }
}

async function begin() {
  const said = await ask("ui/initialize", {
    protocolVersion: "2026-01-26",
    appInfo: { name: "bitrix24-directories", version: "1" },
    appCapabilities: { availableDisplayModes: ["inline"] },
  });
  use(said.hostContext || {});
  send({ method: "ui/notifications/initialized", params: {} });
  new ResizeObserver(() => {
    const { scrollWidth: width } = document.documentElement;
    send({ method: "ui/notifications/size-changed", params: { width, height: document.body.offsetHeight } });
  }).observe(document.body);
}

// --- the drawing ------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") made.addEventListener("click", value);
    else if (value === true) made.setAttribute(name, "");
    else if (value != null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** A text of the portal's, in its own direction. */
function own(text, attributes) {
  return make("bdi", { dir: "auto", ...attributes }, String(text));
}

function show(result) {
  last = result;
  const picture = result._meta && result._meta[PICTURE];
  const drawn = picture && (picture.kind === "usage" ? usage(picture) : plan(picture));
  main.replaceChildren(...(drawn || [make("p", {}, said(result) || words.nothing)]));
}

function said(result) {
  return (result.content || []).map((block) => (block.type === "text" ? block.text : "")).join("\n");
}

function header(picture, ...more) {
  const shown = document.body.classList;
  const codes = make("button", { type: "button", "aria-pressed": String(shown.contains("codes")), on() {
    codes.setAttribute("aria-pressed", String(shown.toggle("codes")));
  } }, words.codes);
  return make("header", {}, make("h1", {}, own(picture.entityId)), codes, ...more);
}

/** A part of the page under a heading of its own; what is wrong stands out. */
function section(title, wrong, content) {
  const heading = make("h2", { class: wrong ? "bad" : null }, wrong ? `⚠ ${title}` : title);
  return make("section", { "aria-label": title }, heading, content);
}

/** Give an element the colour of an item; tells whether it has one. */
function painted(element, item) {
  const coloured = COLOUR.test(item.color || "");
  if (coloured) element.style.background = item.color;
  return coloured;
}

/** What an item is: its colour, name, meaning and code; `end` stands at the end of its row. */
function row(item, ...end) {
  const swatch = make("span", { "aria-hidden": "true" });
  if (painted(swatch, item)) swatch.className = "swatch";
  const meaning = make("span", { class: "soft" }, MEANINGS.includes(item.semantics) ? words[item.semantics] : null);
  const name = make("span", { title: item.statusId }, make("span", { class: "name" }, own(item.name)),
    own(item.statusId, { class: "code" }));
  return make("div", { class: "row" }, swatch, name, meaning, ...end);
}

function counted(count) {
  if (count === undefined) return words.notCounted;
  return count ? count.toLocaleString(document.documentElement.lang) : words.unused;
}

/** `12, 15 … and more 30`, the first ids of `count` records. */
function listed(ids, count) {
  return ids.join(", ") + (count > ids.length ? ` … ${words.more} ${count - ids.length}` : "");
}

function usage(picture) {
  const most = Math.max(1, ...picture.items.map((item) => item.count || 0));
  const again = make("button", { type: "button", on: () => readAgain(picture, again) }, words.again);
  const parts = [header(picture, again)];
  if (picture.records !== undefined) {
    const where = own((picture.fields || []).join(", "));
    parts.push(make("p", { class: "soft" }, `${counted(picture.records)} ${words.total} · `, where));
  }
  parts.push(make("ol", {}, ...picture.items.map((item) => used(item, most))));
  if (picture.more) parts.push(make("p", { class: "soft" }, `… ${words.more} ${picture.more}`));
  if (picture.unknown || picture.unknownCodes) {
    const known = picture.unknown || [];
    const left = picture.unknownCodes - new Set(known.map((one) => one.code)).size;
    const codes = known.map((one) => make("li", { class: "bad" }, own(one.code), ` · ${counted(one.count)} · `,
      own(one.field), make("p", { class: "soft" }, `${words.ids} `, own(one.code), `: ${listed(one.ids, one.count)}`)));
    if (left > 0) codes.push(make("li", { class: "bad" }, `… ${words.more} ${left}`));
    parts.push(section(words.unknown, true, make("ul", {}, ...codes)));
  }
  for (const what of picture.partial || []) parts.push(make("p", { class: "bad" }, `${words.partial}: `, own(what)));
  return parts;
}

function used(item, most) {
  const fields = Object.entries(item.ids || {}).map(([field, found]) => make("li", {}, own(field), ": ",
    listed(found, item.fields ? item.fields[field] : item.count)));
  const ids = make("div", { class: "soft", hidden: true }, `${words.ids} `, own(item.statusId), make("ul", {}, ...fields));
  const open = make("button", { type: "button", "aria-expanded": "false", class: "count", disabled: !item.count, on() {
    ids.hidden = !ids.hidden;
    open.setAttribute("aria-expanded", String(!ids.hidden));
  } }, counted(item.count));
  open.setAttribute("aria-label", `${item.name}: ${counted(item.count)}. ${words.records}`);
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${(100 * (item.count || 0)) / most}%`;
  painted(bar, item);
  return make("li", {}, row(item, open), item.count ? bar : null, ids);
}

async function readAgain(picture, button) {
  button.disabled = true;
  button.textContent = words.waiting;
  let wrong;
  try {
    const given = { entityId: picture.entityId, fresh: true, ...(picture.after && { after: picture.after }) };
    const result = await ask("tools/call", { name: "get_directory_usage", arguments: given });
    if (!result.isError) return show(result);
    wrong = said(result);
  } catch (error) {
    wrong = `${words.failed}: ${error.message || ""}`;
  }
  button.after(make("p", { class: "bad", role: "alert" }, wrong));
  button.disabled = false;
  button.textContent = words.again;
}

function plan(picture) {
  const sides = [side(words.before, picture.before), side(words.after, picture.after)];
  const parts = [header(picture), make("div", { class: "plan" }, ...sides)];
  if (picture.refused) {
    const lines = picture.refused.map((one) => make("li", {}, own(one.name), " · ", own(one.why)));
    parts.push(section(words.refused, true, make("ul", {}, ...lines)));
  }
  return parts;
}

function side(title, items) {
  const lines = items.map((item) => {
    const marks = (item.marks || []).map((mark) => make("span", { class: "mark" }, words[mark],
      ...(mark === "renamed" ? [" ", own(item.was)] : [])));
    const kinds = (item.marks || []).filter((mark) => mark === "added" || mark === "removed").join(" ");
    const under = marks.length ? make("div", { class: "marks" }, ...marks) : null;
    return make("li", { class: kinds || null }, row(item), under);
  });
  return section(title, false, make("ol", {}, ...lines));
}

begin();
