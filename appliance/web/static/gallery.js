// Everything dreamed here, the newest first.

import * as api from "./api.js";
import { $, make } from "./make.js";
import { say } from "./words.js";

const PAGE = 24;
const tiles = $("tiles");
const more = $("more");
const shown = new Map();
let view = () => {};
let trouble = () => {};
let last = null;

/** Begin; `act` has view(image) and trouble(error). */
export async function open(act) {
  ({ view, trouble } = act);
  more.addEventListener("click", () => load(true));
  await load(false);
}

/** Put a new picture in front; gives the one object that stands for it everywhere. */
export function add(image) {
  if (!shown.has(image.id)) {
    tiles.prepend(tile(image));
    last ??= image.id;
    settle();
  }
  return shown.get(image.id);
}

/** A picture that was deleted. */
export function drop(image) {
  const gone = tiles.querySelector(`[data-image="${image.id}"]`);
  if (last === image.id) last = gone?.previousElementSibling?.dataset.image ?? null;
  gone?.remove();
  shown.delete(image.id);
  settle();
}

/** While a picture is on the stage it has no tile. */
export function hold(images, held) {
  for (const image of images) tiles.querySelector(`[data-image="${image.id}"]`)?.toggleAttribute("hidden", held);
  settle();
}

async function load(focus) {
  more.disabled = true;
  try {
    const { images } = await api.images(PAGE, last);
    const fresh = images.filter((image) => !shown.has(image.id)).map(tile);
    tiles.append(...fresh);
    last = images.at(-1)?.id ?? last;
    more.hidden = images.length < PAGE;
    if (focus) fresh[0]?.firstChild.focus();
  } catch (error) {
    more.hidden = false;
    trouble(error);
  }
  more.disabled = false;
  settle();
}

function tile(image) {
  shown.set(image.id, image);
  const label = [say("open", { prompt: image.prompt }), ...(image.blurred ? [say("blurred")] : [])].join(". ");
  return make("li", { "data-image": image.id },
    make("button", { type: "button", class: "tile", "aria-label": label, title: image.prompt, click: () => view(image) },
    make("img", { src: image.url, alt: "", width: image.width, height: image.height, loading: "lazy",
      decoding: "async" })));
}

function settle() {
  $("gallery").hidden = tiles.querySelector("li:not([hidden])") === null;
  document.body.classList.toggle("has-pictures", shown.size > 0);
}
