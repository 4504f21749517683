// The one field, the one button, and the settings behind them.

import { $, announce, make } from "./make.js";
import * as start from "./start.js";
import { locale, localeName, say } from "./words.js";

const MOST_SEED = 2 ** 32 - 1;
const prompt = $("prompt");
let offer = null;

/** Fill the settings with what the box offers. `trouble` is told what goes wrong with a picture. */
export function open(found, trouble) {
  offer = found;
  choices("sizes", "size", offer.sizes, sizeLabel);
  const counts = Array.from({ length: Math.min(offer.max_count, 4) }, (_, index) => String(index + 1));
  choices("counts", "count", counts, (count) => [count]);
  slider("steps", offer.steps);
  slider("guidance", offer.guidance);
  $("scheduler").replaceChildren(...offer.schedulers.map((name) => make("option", { value: name }, name)));
  $("scheduler-field").hidden = offer.schedulers.length < 2;
  const places = offer.locales.map((tag) => place(tag, localeName(tag)));
  $("locale").replaceChildren(place("", say("locale_device")), ...places);
  $("locale-field").hidden = offer.locales.length < 2;
  reset();
  start.open(offer, { size, fit, trouble });
}

/** Start from a picture that was drawn here, or from any other blob. */
export const startFrom = (blob) => start.begin(blob, { size, fit });

/** What is asked for, or a sentence why not. */
export function read() {
  const seed = $("seed").value.trim();
  if (!prompt.value.trim()) throw new RangeError(say("empty_prompt"));
  if (seed && !(/^\d{1,10}$/.test(seed) && Number(seed) <= MOST_SEED)) throw new RangeError(say("bad_seed"));
  const fields = { prompt: prompt.value, locale: $("locale").value || locale() };
  if (seed) fields.seed = Number(seed);
  if ($("negative").value.trim()) fields.negative_prompt = $("negative").value;
  if (offer === null) return fields;
  const steps = Number($("steps").value);
  if (steps !== offer.steps.default) fields.steps = steps; // else the box chooses: a picture may need more
  return {
    ...fields,
    size: chosen("size"),
    count: Number(chosen("count")),
    guidance: Number($("guidance").value),
    scheduler: $("scheduler").value,
    ...start.read(),
  };
}

/** Put an earlier request back into the form with its seed kept, ready for other words. */
export function keep(request, seed) {
  prompt.value = request.prompt;
  grow();
  $("negative").value = request.negative_prompt;
  choose("size", `${request.width}x${request.height}`);
  choose("count", "1");
  set("steps", request.steps);
  set("guidance", request.guidance);
  $("scheduler").value = request.scheduler;
  spoken(request.locale);
  examples();
  $("seed").value = String(seed);
  pin();
  announce(say("pin_said"));
  prompt.focus();
  prompt.setSelectionRange(prompt.value.length, prompt.value.length);
}

function reset() {
  choose("size", offer.sizes[0]);
  choose("count", "1");
  set("steps", offer.steps.default);
  set("guidance", offer.guidance.default);
  $("scheduler").value = offer.schedulers[0];
  $("negative").value = "";
  $("seed").value = "";
  start.leave();
  spoken(locale());
  examples();
  pin();
}

const language = (tag) => tag.split(/[-_]/, 1)[0].toLowerCase();
const place = (tag, name) => make("option", { value: tag }, name);

/** Choose the locale of the words: an earlier request's may be another device's. */
function spoken(tag) {
  const value = tag === locale() ? "" : tag;
  const known = [...$("locale").options].some((option) => option.value === value);
  if (!known) $("locale").append(place(tag, localeName(tag)));
  $("locale").value = value;
}

/** Prompts to try, in the words of the chosen place. */
function examples() {
  if (offer === null) return;
  const tag = $("locale").value in offer.examples ? $("locale").value : offer.locale;
  const prompts = offer.examples[tag] ?? [];
  $("examples").lang = tag;
  $("examples").replaceChildren(
    ...prompts.map((text) =>
      make("li", {}, make("button", { type: "button", class: "chip", dir: "auto", click: () => use(text, tag) }, text))),
  );
  $("try").hidden = prompts.length === 0;
}

function use(text, tag) {
  prompt.value = text;
  if (!$("locale").value && language(tag) !== language(locale())) spoken(tag); // no words of this device's to show
  grow();
  $("form").requestSubmit();
}

function choices(fieldset, name, values, label) {
  const made = values.map((value) =>
    make("label", { class: "choice" }, make("input", { type: "radio", name, value }), make("span", {}, ...label(value))));
  $(fieldset).querySelector(".choices").replaceChildren(...made);
  $(fieldset).hidden = values.length < 2;
}

function sizeLabel(size) {
  const [width, height] = size.split("x").map(Number);
  const shape = width === height ? "square" : width > height ? "wide" : "tall";
  return [make("i", { class: `shape ${shape}` }), `${say(shape)} `, make("small", {}, `${width} × ${height}`)];
}

const size = () => chosen("size").split("x").map(Number);

/** Choose the offered size whose shape is nearest. */
function fit(width, height) {
  const unlike = (other) => {
    const [wide, high] = other.split("x").map(Number);
    return Math.abs(Math.log((wide * height) / (high * width)));
  };
  choose("size", offer.sizes.reduce((best, other) => (unlike(other) < unlike(best) ? other : best)));
}

function slider(id, range) {
  Object.assign($(id), { min: range.minimum, max: range.maximum });
  $(id).addEventListener("input", () => set(id, $(id).value));
  $(`${id}-field`).hidden = range.minimum === range.maximum;
}

function set(id, value) {
  $(id).value = value;
  $(`${id}-out`).value = value;
}

const radios = (name) => [...document.getElementsByName(name)];
const chosen = (name) => radios(name).find((radio) => radio.checked)?.value;

function choose(name, value) {
  for (const radio of radios(name)) radio.checked = radio.value === value;
}

function pin() {
  const seed = $("seed").value.trim();
  const button = $("pin");
  button.hidden = !/^\d+$/.test(seed);
  button.textContent = button.hidden ? "" : `${say("pinned", { seed })} ×`;
  button.setAttribute("aria-label", say("unpin", { seed }));
}

/** The field grows with what is written in it. */
function grow() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

prompt.addEventListener("input", grow);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
$("seed").addEventListener("input", pin);
$("locale").addEventListener("change", examples);
$("reset").addEventListener("click", () => offer && reset());
$("pin").addEventListener("click", () => {
  $("seed").value = "";
  pin();
  prompt.focus();
});
