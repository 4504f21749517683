// What is kept and what goes: the heart keeps a picture whatever else goes, and the bin deletes one for good.

import * as api from "./api.js";
import { announce, make, sign } from "./make.js";
import { say } from "./words.js";

const PATIENCE = 4000; // for a second thought

/** The heart of an image. */
export function heart(image, act) {
  const button = make("button", { type: "button", class: "icon thumb heart", "aria-label": say("favourite"),
    title: say("favourite_hint"), click: toggle }, sign("heart"));
  const show = () => button.setAttribute("aria-pressed", String(image.favourite));
  async function toggle() {
    const before = image.favourite;
    image.favourite = !before;
    show();
    try {
      image.favourite = (await api.favourite(image.id, image.favourite)).favourite;
    } catch (error) {
      image.favourite = before;
      act.trouble(error);
    }
    show();
  }
  show();
  return button;
}

/** Its bin: asks once more before anything is gone. `act` has gone(image). */
export function bin(image, act) {
  const button = make("button", { type: "button", class: "icon bin", "aria-label": say("remove"), title: say("remove"),
    click: press }, sign("bin"));
  let timer = 0;
  function calm() {
    clearTimeout(timer);
    timer = 0;
    button.classList.remove("sure");
    button.replaceChildren(sign("bin"));
    button.setAttribute("aria-label", say("remove"));
  }
  async function press() {
    if (!timer) {
      timer = setTimeout(calm, PATIENCE);
      button.classList.add("sure");
      button.append(say("remove_sure"));
      button.setAttribute("aria-label", say("remove_sure"));
      return announce(say("remove_sure"));
    }
    calm();
    try {
      await api.remove(image.id);
    } catch (error) {
      if (error.status !== 404) return act.trouble(error);
    }
    announce(say("removed"));
    act.gone(image);
  }
  return button;
}
