// What can be done with a finished picture: save, again, same seed, heart, thumbs, share, delete.

import * as api from "./api.js";
import { bin, heart } from "./keeping.js";
import { announce, make, sign } from "./make.js";
import { possible } from "./start.js";
import { say } from "./words.js";

/** The row of buttons for an image. `act` has again(job), keep(job, image), start(image), gone(image) and
 * trouble(error). */
export function tools(image, act) {
  const withJob = (then) => async () => {
    try {
      then(await api.job(image.job));
    } catch (error) {
      act.trouble(error);
    }
  };
  return [
    make("a", { class: "tool", href: `${image.url}?download=1`, download: true }, sign("save"), say("save")),
    tool("again", "again", say("again_hint"), withJob((job) => act.again(job))),
    possible() ? tool("picture", "start_from", say("start_from_hint"), () => act.start(image)) : null,
    tool("seed", "same_seed", say("same_seed_hint"), withJob((job) => act.keep(job, image))),
    make("div", { class: "thumbs" }, heart(image, act), ...thumbs(image, act), shareButton(image),
      bin(image, act)),
  ].filter((element) => element !== null);
}

function tool(name, word, hint, click) {
  return make("button", { type: "button", class: "tool", title: hint, click }, sign(name), say(word));
}

function thumbs(image, act) {
  const buttons = ["up", "down"].map((thumb) =>
    make("button", {
      type: "button", class: "icon thumb", "data-thumb": thumb, "aria-label": say(thumb), title: say(thumb),
      click: () => vote(thumb),
    }, sign(thumb)));
  function show() {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.thumb === image.feedback));
    }
  }
  async function vote(thumb) {
    const before = image.feedback;
    image.feedback = before === thumb ? null : thumb;
    show();
    try {
      image.feedback = (await api.feedback(image.id, image.feedback)).feedback;
    } catch (error) {
      image.feedback = before;
      act.trouble(error);
    }
    show();
  }
  show();
  return buttons;
}

function shareButton(image) {
  const word = say(navigator.share ? "share" : "copy");
  return make("button", { type: "button", class: "icon", "aria-label": word, title: word, click: () => share(image) },
    sign("share"));
}

/** Share where the browser can; else copy the picture's link. */
async function share(image) {
  const url = new URL(`/#${image.id}`, location.href).href;
  if (navigator.share) {
    await navigator.share({ title: image.prompt, url }).catch(() => {});
    return;
  }
  announce(say((await copied(url)) ? "copied" : "not_copied"));
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedTheOldWay(text);
  }
}

function copiedTheOldWay(text) {
  const field = make("textarea", { class: "unseen", readonly: true }, text);
  const host = document.querySelector("dialog[open]") ?? document.body;
  const focused = document.activeElement;
  host.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}
