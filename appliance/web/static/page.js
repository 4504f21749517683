// Ensueño's page: a sentence goes in, the picture forms, and it is never lost.

import * as api from "./api.js";
import * as box from "./box.js";
import { Card } from "./card.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import { follow } from "./live.js";
import { $, announce } from "./make.js";
import * as memory from "./memory.js";
import * as pair from "./pair.js";
import * as start from "./start.js";
import * as viewer from "./viewer.js";
import { say } from "./words.js";

const RETRY = 2000;
const cards = new Map();
const act = { cancel, away, again, keep, gone, start: startFrom, trouble, view: viewer.view };

function trouble(error) {
  if (!(error instanceof api.Refused || error instanceof api.Unreachable || error instanceof RangeError)) throw error;
  $("trouble").textContent = error.message;
}

// --- a dream's way -----------------------------------------------------------------------------------------------

/** Ask for a picture. Its id is made and kept before anything is sent, so that no failure can lose it. */
function dream(fields) {
  for (const card of [...cards.values()]) if (card.state === "finished") away(card);
  const entry = { id: api.newId(), fields };
  if (fields.image) start.keep(entry.id, fields);
  memory.remember(entry);
  const card = place(entry);
  card.element.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
  return send(card, fields);
}

function place(entry) {
  const card = new Card(entry.id, entry.fields, act);
  card.fields = entry.fields;
  card.known = entry.known === true; // to the box
  cards.set(entry.id, card);
  $("stage").prepend(card.element);
  settle();
  return card;
}

/** Send until the box has answered: the same id twice is one job. */
async function send(card, fields) {
  while (cards.has(card.id)) {
    try {
      const job = await api.submit(card.id, fields);
      return begin(card, job);
    } catch (error) {
      if (!(error instanceof api.Unreachable)) return refuse(card, error);
      card.unreachable();
      await new Promise((later) => setTimeout(later, RETRY));
    }
  }
}

function begin(card, job) {
  if (!cards.has(card.id)) return api.cancel(card.id).catch(() => {});
  card.accepted(job);
  if (card.fields.image) memory.remember({ id: card.id, fields: { prompt: job.request.prompt }, known: true });
  if (job.ended) return end(card, job);
  card.watch = follow(card.id, {
    moment: (moment) => {
      card.moment(moment);
      box.pulse(moment.engine_alive);
    },
    unreachable: () => card.unreachable(),
    end: (ended) => end(card, ended),
    gone: () => away(card),
  });
}

function refuse(card, error) {
  away(card);
  trouble(error);
}

async function end(card, job) {
  memory.forget(card.id);
  if (job.state === "finished") {
    const images = (await pictures(job)).reverse().map(gallery.add).reverse();
    gallery.hold(images, true);
    card.finished(job, images);
    return settle();
  }
  if (job.state === "cancelled") {
    away(card);
    return announce(say("cancelled"));
  }
  card.ended(job.state, job.error ? say("box_says", { sentence: job.error }) : say(job.state), () => {
    away(card);
    dream(card.fields);
  });
}

/** The entries of a finished job's pictures; patient, since they are on the disk already. */
async function pictures(job) {
  for (;;) {
    try {
      return await Promise.all(job.images.map(api.image));
    } catch {
      await new Promise((later) => setTimeout(later, RETRY));
    }
  }
}

// --- what a visitor can do ---------------------------------------------------------------------------------------

async function cancel(card) {
  if (card.state === "sending") return away(card);
  card.cancelling();
  try {
    await api.cancel(card.id);
  } catch (error) {
    card.stay();
    trouble(error);
  }
}

/** Off the stage; its pictures stay in the gallery. */
function away(card) {
  card.watch?.stop();
  cards.delete(card.id);
  memory.forget(card.id);
  const focused = card.element.contains(document.activeElement);
  card.remove();
  gallery.hold(card.images, false);
  if (focused) $("prompt").focus();
  settle();
}

/** A picture that was deleted: off the stage, out of the gallery. */
function gone(image) {
  gallery.drop(image);
  for (const card of [...cards.values()]) if (card.drop(image)) away(card);
  settle();
}

function again(job) {
  const { seed, width, height, image, mask, ...rest } = job.request;
  const source = image ? start.of(job.id) : {};
  if (source !== null) return dream({ ...rest, ...source, size: `${width}x${height}` });
  form.keep(job.request, "");
  trouble(new RangeError(say("start_gone")));
}

async function startFrom(image) {
  try {
    await form.startFrom(await api.file(image.url));
    toForm();
    $("prompt").focus({ preventScroll: true });
  } catch (error) {
    trouble(error);
  }
}

function keep(job, image) {
  form.keep(job.request, image.seed);
  if (!job.request.image) start.leave();
  else if (!start.chosen()) trouble(new RangeError(say("start_gone")));
  toForm();
}

const toForm = () => $("form").scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  $("trouble").textContent = "";
  try {
    dream(form.read());
    if (matchMedia("(pointer: coarse)").matches) document.activeElement?.blur();
  } catch (error) {
    trouble(error);
    $("prompt").focus();
  }
});
$("go").disabled = false; // not before: the browser's own submit would lose the sentence

// --- the page itself ---------------------------------------------------------------------------------------------

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function settle() {
  $("empty").hidden = cards.size > 0 || document.body.classList.contains("has-pictures");
}

async function meet() {
  for (;;) {
    try {
      const offer = await api.offer();
      form.open(offer, trouble);
      box.pulse(offer.engine !== null);
      const model = say("model", offer);
      $("model").textContent = offer.engine ? `${model} · ${offer.engine}` : model;
      return;
    } catch (error) {
      trouble(error);
      await new Promise((later) => setTimeout(later, RETRY));
    }
  }
}

/** What was asked for before the page was closed: it goes on, or is sent again if it never arrived. */
function resume() {
  for (const entry of memory.all()) find(place(entry));
}

async function find(card) {
  while (cards.has(card.id)) {
    try {
      return begin(card, await api.job(card.id));
    } catch (error) {
      if (error instanceof api.Refused) return card.known ? away(card) : send(card, card.fields);
      card.unreachable();
      await new Promise((later) => setTimeout(later, RETRY));
    }
  }
}

box.open(await pair.meet());
meet();
await gallery.open({ view: viewer.view, trouble });
resume();
settle();
await viewer.open(act);
