// Who may come in: the owner lets others in with a PIN, and lets them go.

import * as api from "./api.js";
import { $, make } from "./make.js";
import { say } from "./words.js";

let code = "";
let timer = 0;

/** Begin; only an owner has it, and only where somebody need pair. */
export function open(me) {
  if (me.open || me.role !== "owner") return;
  $("people").hidden = false;
  for (const role of ["guest", "owner"]) $(`invite-${role}`).addEventListener("click", () => invite(role));
}

/** Look who is in. */
export async function look() {
  if ($("people").hidden) return;
  await doing(async () => $("people-list").replaceChildren(...(await api.people()).people.map(row)));
}

/** The PIN is not left on a screen that nobody looks at. */
export function close() {
  clearInterval(timer);
  URL.revokeObjectURL(code);
  $("invitation").hidden = true;
  $("invitation-pin").textContent = "";
}

function row(person) {
  const role = say(`role_${person.role}`);
  const name = make("span", { dir: "auto" }, person.you ? say("people_you", { name: person.name }) : person.name);
  const go = person.you ? null : make("button", { type: "button", class: "tool",
    "aria-label": say("revoke_whom", { name: person.name }), click: () => revoke(person) }, say("revoke"));
  return make("li", {}, name, make("small", {}, role), go);
}

function invite(role) {
  return doing(async () => {
    const made = await api.invite(role);
    close();
    code = URL.createObjectURL(new Blob([made.code], { type: "image/svg+xml" }));
    $("invitation-code").src = code;
    $("invitation-pin").textContent = made.pin.replace(/^(....)/, "$1 ");
    const host = made.address ? new URL(made.address).host : location.host;
    const until = performance.now() + 1000 * made.seconds;
    const tell = () => {
      const left = Math.round((until - performance.now()) / 1000);
      if (left <= 0) return close();
      $("invitation-text").textContent = say(`invitation_${role}`, { host, minutes: Math.ceil(left / 60) });
    };
    tell();
    timer = setInterval(tell, 1000);
    $("invitation").hidden = false;
    $("invitation").scrollIntoView({ block: "nearest" });
  });
}

async function revoke(person) {
  if (!confirm(say("revoke_sure", { name: person.name }))) return;
  await doing(() => api.revoke(person.id));
  await look();
}

async function doing(what) {
  $("people-trouble").textContent = "";
  try {
    await what();
  } catch (error) {
    $("people-trouble").textContent = error.message;
  }
}
