// The box itself: one sentence on how it is, what is wrong and what to do, and its figures. Asked only while it is open.

import * as api from "./api.js";
import { $, make } from "./make.js";
import * as people from "./people.js";
import { locale, say, span } from "./words.js";

const EVERY = 2000;
const GIB = 2 ** 30;
const dialog = $("box");
let timer = 0;

/** Begin; the sign in the page's head opens it, for an owner. */
export function open(me) {
  people.open(me);
  $("pulse").disabled = me.role !== "owner";
  $("pulse").addEventListener("click", show);
  $("box-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    people.close();
  });
}

/** Tell it in the page's head; `awake` is whether the engine works. */
export function pulse(awake) {
  const sign = $("pulse");
  sign.hidden = false;
  sign.firstChild.textContent = say(awake ? "awake" : "asleep");
  sign.classList.toggle("awake", awake);
}

function show() {
  dialog.showModal();
  look();
  people.look();
}

async function look() {
  clearTimeout(timer);
  try {
    draw(await api.box());
  } catch (error) {
    $("box-state").textContent = error.message;
  }
  if (dialog.open) timer = setTimeout(look, EVERY);
}

function draw(box) {
  pulse(box.awake);
  dialog.dataset.level = box.awake ? box.level : "watch";
  $("box-state").textContent = say(state(box));
  $("box-troubles").replaceChildren(...box.troubles.map((trouble) =>
    make("li", { "data-level": trouble.level, title: trouble.sentence }, say(`trouble_${trouble.kind}`))));
  $("box-facts").replaceChildren(...facts(box).flat());
  door(box.addresses);
}

function state(box) {
  if (box.building) return "box_builds";
  if (!box.awake) return "box_asleep";
  return box.level === "good" ? "box_good" : "box_trouble";
}

function facts(box) {
  const rows = [
    row("building", [box.building && say("building_text", box.building), box.building && percent(box.building.done)],
      box.building?.done),
    row("engine", [box.engine, box.seconds_per_picture && say("each", { span: span(box.seconds_per_picture) })]),
    row("line", [say("line_text", { waiting: box.waiting, running: box.running })]),
    row("heat", [box.celsius !== null && degrees(box.celsius),
      box.throttle_celsius !== null && say("slows_at", { heat: degrees(box.throttle_celsius) })],
    box.throttle_celsius && box.celsius / box.throttle_celsius),
    row("graphics", [box.gpu_load !== null && percent(box.gpu_load)], box.gpu_load),
    row("memory", [free(box.memory_available, box.memory_total)], 1 - box.memory_available / box.memory_total),
    row("disk", [free(box.disk_free, box.disk_total)], 1 - box.disk_free / box.disk_total),
    row("power", [box.watts !== null && number(box.watts, 1, "W"), box.power_mode,
      box.joules_per_picture !== null && say("each", { span: number(box.joules_per_picture, 0, "J") })]),
    row("board", [box.board]),
  ];
  return rows.filter((found) => found !== null);
}

/** A figure's name, its words, and how much of it is used; nothing when the box cannot tell. */
function row(name, words, used = null) {
  const text = words.filter((word) => word).join(" · ");
  if (!text) return null;
  const bar = used === null || used === undefined ? null
    : make("progress", { class: "bar", max: 1, value: used, "aria-label": say(`box_${name}`) });
  return [make("dt", {}, say(`box_${name}`)), make("dd", {}, text, bar)];
}

const degrees = (celsius) => number(celsius, 0, "°C");
const percent = (ratio) => number(100 * ratio, 0, "%");
const free = (bytes, total) => say("free", { free: number(bytes / GIB, 1, "GiB"), total: number(total / GIB, 1, "GiB") });

function number(value, digits, unit) {
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return `${value.toLocaleString(locale(), format)} ${unit}`;
}

/** Where others find it: a code for a phone's camera, and the address to type. */
function door(addresses) {
  $("box-door").hidden = addresses.length === 0;
  if (addresses.length === 0) return;
  const code = $("box-code");
  if (code.dataset.address !== addresses[0]) {
    code.dataset.address = addresses[0];
    code.src = "/v1/box/door.svg";
  }
  $("box-addresses").replaceChildren(...addresses.map((address) => make("li", {}, new URL(address).host)));
}
