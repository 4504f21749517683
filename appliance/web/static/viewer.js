// One picture, large. The phone's back button closes it, and its address can be sent to somebody.

import * as api from "./api.js";
import { $, make } from "./make.js";
import { tools } from "./tools.js";
import { locale, say } from "./words.js";

const dialog = $("viewer");
let act = null;

/** Begin; `actions` are those of the tools. */
export async function open(actions) {
  act = {
    ...actions,
    again: (job) => leave(() => actions.again(job)),
    keep: (job, image) => leave(() => actions.keep(job, image)),
    gone: (image) => leave(() => actions.gone(image)),
    start: (image) => leave(() => actions.start(image)),
  };
  $("viewer-close").addEventListener("click", close);
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  addEventListener("popstate", fromAddress);
  await fromAddress();
}

/** Show it. */
export function view(image) {
  history.pushState({ viewer: image.id }, "", `#${image.id}`);
  show(image);
}

function close() {
  if (history.state?.viewer) history.back();
  else {
    history.replaceState(null, "", location.pathname);
    dialog.close();
  }
}

/** Close first, and then do it: the focus is free by then. */
function leave(then) {
  dialog.addEventListener("close", then, { once: true });
  close();
}

async function fromAddress() {
  const id = location.hash.slice(1);
  if (!/^[0-9A-Z]{26}$/.test(id)) {
    if (dialog.open) dialog.close();
    return;
  }
  try {
    show(await api.image(id));
  } catch (error) {
    history.replaceState(null, "", location.pathname);
    act.trouble(error);
  }
}

function show(image) {
  $("viewer-frame").replaceChildren(
    make("img", { src: image.url, alt: image.prompt, width: image.width, height: image.height }));
  $("viewer-prompt").textContent = image.prompt;
  $("viewer-tools").replaceChildren(...tools(image, act));
  facts(image, null);
  if (!dialog.open) dialog.showModal();
  api.job(image.job).then((job) => dialog.open && facts(image, job), () => {});
}

function facts(image, job) {
  const when = new Date(image.created).toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });
  const known = [`${image.width} × ${image.height}`, say("facts_seed", { seed: image.seed })];
  if (job) known.push(say("facts_steps", { steps: job.request.steps }));
  if (job?.request.image) known.push(say("facts_start", { strength: Math.round(100 * job.request.strength) }));
  if (job?.engine) known.push(say("drawn_by", { engine: job.engine }));
  if (image.blurred) known.push(say("blurred"));
  $("viewer-facts").textContent = [when, ...known].join(" · ");
}
