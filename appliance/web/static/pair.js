// Being let in: until the box knows this browser its page shows one thing, where to enter the PIN.

import * as api from "./api.js";
import { $ } from "./make.js";
import { say } from "./words.js";

const RETRY = 2000;
const form = $("pair");
const trouble = $("pair-trouble");
const FROM_CODE = /^#pin=([0-9]{8})$/;

/** Who this browser is to the box: at once, or when it has been let in. */
export async function meet() {
  let told = await who();
  stranger(told.role === null);
  if (told.role === null) told = await asked();
  document.body.classList.toggle("guest", told.role === "guest");
  return told;
}

/** When the right PIN was entered. */
function asked() {
  const scanned = FROM_CODE.exec(location.hash);
  if (scanned) {
    history.replaceState(null, "", "/");
    $("pair-pin").value = scanned[1].replace(/^(....)/, "$1 ");
  }
  $(scanned ? "pair-name" : "pair-pin").focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      enter(resolve);
    });
    $("pair-go").disabled = false; // not before: the browser's own submit would lose what was entered
  });
}

async function who() {
  for (;;) {
    try {
      return await api.who();
    } catch (error) {
      stranger(true);
      trouble.textContent = error.message;
      await new Promise((later) => setTimeout(later, RETRY));
      trouble.textContent = "";
    }
  }
}

async function enter(resolve) {
  trouble.textContent = "";
  $("pair-go").disabled = true;
  try {
    const told = await api.pair($("pair-pin").value, $("pair-name").value.trim() || say("pair_somebody"));
    stranger(false);
    $("prompt").focus();
    resolve(told);
  } catch (error) {
    trouble.textContent = { 400: say("pair_short"), 401: say("pair_wrong"), 429: say("pair_later") }[error.status]
      ?? error.message;
    $("pair-pin").focus();
    $("pair-pin").select();
  }
  $("pair-go").disabled = false;
}

function stranger(is) {
  document.body.classList.toggle("stranger", is);
  $("empty").hidden = !is; // the picture of the page, without its words
}
