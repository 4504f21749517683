// A picture to start from, cut to the size that is asked for, and the strokes over what should change in it.

import { $, announce, make } from "./make.js";
import { say } from "./words.js";

const STRENGTH = 0.6; // as the box has it: alone 0.6, with strokes 1
const FINE = 512; // strokes are kept at least this fine, however small the picture
const BRUSH = 0.11; // of the shorter side
const KEPT = 8; // pictures that are remembered for "Again"

const picture = $("start-picture");
const strokes = $("start-strokes");
const paint = $("start-paint");
const slider = $("strength");
const kept = new Map(); // job id → what it started from
let able = false;
let bitmap = null;
let size = [1, 1];
let painted = false;
let moved = false; // whether somebody moved the slider

/** Whether this box can start from a picture at all. */
export const possible = () => able;

/** Whether there is one now. */
export const chosen = () => bitmap !== null;

/** Begin; `form` has size() as [width, height], fit(width, height), which chooses the nearest shape, and trouble(error). */
export function open(offer, form) {
  able = offer.pictures;
  $("pick").hidden = !able;
  if (!able) return;
  const take = (file) => file && begin(file, form).catch(form.trouble);
  $("pick").onclick = () => $("pick-file").click();
  $("pick-file").onchange = () => {
    take($("pick-file").files[0]);
    $("pick-file").value = "";
  };
  $("prompt").onpaste = (event) => take(image(event.clipboardData));
  $("form").ondragover = (event) => event.preventDefault();
  $("form").ondrop = (event) => {
    event.preventDefault();
    take(image(event.dataTransfer));
  };
  for (const radio of document.getElementsByName("size")) radio.addEventListener("change", () => fit(form.size()));
}

/** Start from a file or another blob. */
export async function begin(blob, form) {
  let found;
  try {
    found = await createImageBitmap(blob);
  } catch {
    throw new RangeError(say("start_bad"));
  }
  bitmap = found;
  form.fit(bitmap.width, bitmap.height);
  fit(form.size());
  show();
  announce(say("start_said"));
}

/** What the request says of it: nothing when there is none. */
export function read() {
  if (bitmap === null) return {};
  const fields = { image: picture.toDataURL("image/png"), strength: Number(slider.value) };
  return painted ? { ...fields, mask: mask() } : fields;
}

/** Keep what a job started from, so that it can be dreamed again. */
export function keep(id, fields) {
  kept.set(id, { image: fields.image, mask: fields.mask });
  for (const old of [...kept.keys()].slice(0, -KEPT)) kept.delete(old);
}

/** The fields of what a job started from, or null when that is not known any more. */
export const of = (id) => kept.get(id) ?? null;

/** Go on without. */
export function leave() {
  bitmap?.close();
  bitmap = null;
  $("start").hidden = true;
  $("pick").setAttribute("aria-expanded", "false");
  wipe();
  moved = false;
  strength();
}

// --- inside

const image = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

function show() {
  $("start").hidden = false;
  $("pick").setAttribute("aria-expanded", "true");
}

/** Scaled until it covers the size, cut off evenly: as the box does with what programs send. */
function fit([width, height]) {
  if (bitmap === null) return;
  size = [width, height];
  [picture.width, picture.height] = size;
  $("start-frame").style.setProperty("--ratio", String(width / height));
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [wide, high] = [bitmap.width * scale, bitmap.height * scale];
  const canvas = picture.getContext("2d");
  canvas.imageSmoothingQuality = "high";
  canvas.fillStyle = "white";
  canvas.fillRect(0, 0, width, height);
  canvas.drawImage(bitmap, (width - wide) / 2, (height - high) / 2, wide, high);
  wipe();
}

function wipe() {
  const fine = Math.max(1, FINE / Math.max(...size));
  [strokes.width, strokes.height] = size.map((side) => Math.round(side * fine));
  painted = false;
  $("start-clear").hidden = true;
  painting(false);
  strength();
}

function painting(on) {
  paint.setAttribute("aria-pressed", String(on));
  $("start-frame").classList.toggle("painting", on);
  $("start-hint").hidden = !on;
}

/** A slider that nobody moved stands where the box would. */
function strength() {
  if (!moved) slider.value = painted ? 1 : STRENGTH;
  $("strength-out").value = `${Math.round(100 * slider.value)} %`;
}

/** White where somebody painted, black elsewhere. */
function mask() {
  const canvas = make("canvas", { width: size[0], height: size[1] }).getContext("2d");
  canvas.drawImage(strokes, 0, 0, ...size);
  canvas.globalCompositeOperation = "source-in";
  canvas.fillStyle = "white";
  canvas.fillRect(0, 0, ...size);
  canvas.globalCompositeOperation = "destination-over";
  canvas.fillStyle = "black";
  canvas.fillRect(0, 0, ...size);
  return canvas.canvas.toDataURL("image/png");
}

function point(event) {
  const box = strokes.getBoundingClientRect();
  return [((event.clientX - box.left) * strokes.width) / box.width,
    ((event.clientY - box.top) * strokes.height) / box.height];
}

function stroke(from, to) {
  const canvas = strokes.getContext("2d");
  canvas.strokeStyle = getComputedStyle(strokes).color;
  canvas.lineWidth = BRUSH * Math.min(strokes.width, strokes.height);
  canvas.lineCap = "round";
  canvas.beginPath();
  canvas.moveTo(...from);
  canvas.lineTo(...to);
  canvas.stroke();
  painted = true;
  $("start-clear").hidden = false;
  strength();
}

let last = null;

strokes.addEventListener("pointerdown", (event) => {
  strokes.setPointerCapture(event.pointerId);
  last = point(event);
  stroke(last, last);
});
strokes.addEventListener("pointermove", (event) => {
  if (last === null) return;
  for (const part of event.getCoalescedEvents?.() ?? [event]) {
    const next = point(part);
    stroke(last, next);
    last = next;
  }
});
for (const end of ["pointerup", "pointercancel"]) strokes.addEventListener(end, () => (last = null));
paint.addEventListener("click", () => painting(paint.getAttribute("aria-pressed") !== "true"));
$("start-clear").addEventListener("click", () => {
  wipe();
  painting(true);
  paint.focus();
});
$("start-leave").addEventListener("click", () => {
  leave();
  $("pick").focus();
});
slider.addEventListener("input", () => {
  moved = true;
  strength();
});
