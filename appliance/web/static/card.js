// One job on the stage: waiting, forming, ended.

import { announce, make, sign } from "./make.js";
import { tools } from "./tools.js";
import { say, span } from "./words.js";

/** `act` has cancel(card), away(card), again(job), keep(job, image), start(image), view(image), gone(image),
 *  trouble(error). */
export class Card {
  constructor(id, fields, act) {
    this.id = id;
    this.act = act;
    this.state = "sending";
    this.images = [];
    this.urls = [];
    this.half = false;
    this.previews = [];
    this.mist = make("div", { class: "mist", "aria-hidden": "true" });
    this.place = make("p", { class: "place", "aria-hidden": "true" });
    this.pictures = make("div", { class: "pictures" });
    this.frame = make("div", { class: "frame" }, this.mist, this.pictures, this.place);
    this.bar = make("progress", { class: "bar", max: 1, value: 0, "aria-label": say("progress") });
    this.words = make("h2", { class: "prompt", dir: "auto" }, fields.prompt);
    this.status = make("p", { class: "status" });
    this.tools = make("div", { class: "tools" }, this.cancelButton());
    this.element = make("article", { class: "dream", "data-state": this.state, "data-job": id, "aria-busy": "true" },
      this.frame, this.bar, make("div", { class: "caption" }, this.words, this.status, this.tools));
    this.shape(fields.size ?? "1x1", fields.count ?? 1);
    this.tell(say("sending"));
  }

  /** The job as the box accepted it. */
  accepted(job) {
    this.words.textContent = job.request.prompt;
    this.shape(`${job.request.width}x${job.request.height}`, job.request.count);
  }

  moment(moment) {
    this.last = moment;
    if (this.state === "cancelling") return;
    const wake = !moment.engine_alive;
    const left = span(moment.seconds_left);
    if (moment.state === "queued") {
      this.become("queued");
      const place = moment.position === 1 ? say("next") : say("place", { n: moment.position });
      this.place.textContent = moment.position;
      this.tell(wake ? say("engine_asleep") : [place, left].filter(Boolean).join(" · "));
    } else {
      if (this.become("running")) announce(say("begun"));
      this.place.textContent = "";
      const step = moment.step === null ? say("starting") : say("step", moment);
      this.tell(wake ? say("engine_asleep") : [step, left].filter(Boolean).join(" · "));
      this.form(moment);
    }
  }

  unreachable() {
    this.tell(say("unreachable"));
  }

  cancelling() {
    this.before = this.state;
    this.become("cancelling");
    this.tell(say("cancelling"));
  }

  /** The cancelling failed: as it was, or as it stands by now. */
  stay() {
    if (this.state !== "cancelling") return;
    this.become(this.before);
    if (this.last) this.moment(this.last);
  }

  /** The pictures, once they are all there. */
  finished(job, images) {
    this.images = images;
    this.become("finished");
    const made = images.map((image) =>
      make("button", { type: "button", class: "picture", "aria-label": say("open", { prompt: image.prompt }),
        click: () => this.act.view(image) },
      make("img", { class: "final", src: image.url, alt: image.prompt, width: image.width, height: image.height })));
    const before = [...this.pictures.children];
    this.pictures.append(...made);
    const loaded = made.map((button) => button.firstChild.decode().catch(() => {}));
    Promise.all(loaded).then(() => {
      this.element.classList.add("clear");
      for (const old of before) old.remove();
      this.letGo();
    });
    const notes = [job.truncated && say("truncated", { words: job.truncated }),
      images.some((image) => image.blurred) && say("blurred")];
    this.tell(notes.filter(Boolean).join(" "));
    const away = this.iconButton("close", "put_away", () => this.act.away(this));
    const again = () => this.act.again(job);
    this.tools.replaceChildren(...(images.length === 1 ? tools(images[0], this.act) : [this.againButton(again)]));
    this.frame.append(away);
    announce(images.length === 1 ? say("finished") : say("finished_many", { n: images.length }));
  }

  /** A picture was deleted; whether it was the last of this job. */
  drop(image) {
    const index = this.images.findIndex((mine) => mine.id === image.id);
    if (index < 0) return false;
    this.images.splice(index, 1);
    this.pictures.querySelectorAll(".picture")[index]?.remove();
    return this.images.length === 0;
  }

  /** An end without a picture, in a sentence. */
  ended(state, sentence, again) {
    this.become(state);
    this.place.textContent = "";
    this.tell(sentence);
    this.pictures.replaceChildren();
    this.letGo();
    this.tools.replaceChildren(this.againButton(again));
    this.frame.append(this.iconButton("close", "put_away", () => this.act.away(this)));
    announce(sentence);
  }

  remove() {
    this.letGo();
    this.element.remove();
  }

  // --- inside

  /** The previews: the mist gives way step by step. */
  form(moment) {
    if (moment.step === null) return;
    const done = moment.steps ? moment.step / moment.steps : 0;
    this.bar.value = done;
    this.bar.textContent = `${Math.round(100 * done)} %`;
    this.element.style.setProperty("--haze", String(1 - done));
    document.title = `${Math.round(100 * done)} % · ${say("title")}`;
    if (done >= 0.5 && !this.half) {
      this.half = true;
      announce(say("halfway"));
    }
    moment.previews.forEach((data, index) => this.preview(index, data));
  }

  preview(index, data) {
    if (!this.previews[index]) {
      this.previews[index] = make("img", { class: "forming", alt: say("forming"), "data-seen": "" });
      this.pictures.append(this.previews[index]);
    }
    const url = URL.createObjectURL(new Blob([bytes(data)], { type: "image/png" }));
    const old = this.urls[index];
    this.urls[index] = url;
    this.previews[index].src = url;
    if (old) URL.revokeObjectURL(old);
  }

  letGo() {
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.urls = [];
    this.previews = [];
  }

  become(state) {
    const changed = this.state !== state;
    this.state = state;
    this.element.dataset.state = state;
    const busy = ["sending", "queued", "running", "cancelling"].includes(state);
    this.element.setAttribute("aria-busy", String(busy));
    if (!busy) document.title = say("title");
    return changed;
  }

  shape(size, count) {
    const [width, height] = size.split("x").map(Number);
    const wide = count === 2 ? 2 * width : width; // two lie side by side, three and four make a square of four
    this.element.style.setProperty("--ratio", String(wide / height));
    this.element.classList.toggle("several", count > 1);
  }

  tell(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  cancelButton() {
    return make("button", { type: "button", class: "tool", click: () => this.act.cancel(this) },
      sign("close"), say("cancel"));
  }

  againButton(click) {
    return make("button", { type: "button", class: "tool", title: say("again_hint"), click },
      sign("again"), say("again"));
  }

  iconButton(name, word, click) {
    return make("button", { type: "button", class: "icon shut", "aria-label": say(word), title: say(word), click },
      sign(name));
  }
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
