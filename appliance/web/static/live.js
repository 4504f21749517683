// Following one job to its end: by its stream where that goes, by asking where it does not.
//
// A browser holds few connections to one host, so at most two streams are open and none while nobody looks; the others
// ask. When a stream is cut or refused the page asks at once, and tries the stream again after a while.

import * as api from "./api.js";

const STREAMS = 2;
const ASK_EVERY = 1000;
const ASK_HIDDEN = 4000;
const ASKS_BEFORE_A_STREAM = 8;
const ENDED = new Set(["finished", "failed", "cancelled", "expired"]);
let streams = 0;

/** Calls tell.moment(moment) at each change, tell.unreachable(), and once tell.end(job) or tell.gone(). */
export function follow(id, tell) {
  const watch = new Watch(id, tell);
  watch.begin();
  return watch;
}

class Watch {
  constructor(id, tell) {
    this.id = id;
    this.tell = tell;
    this.source = null;
    this.timer = 0;
    this.asks = 0;
    this.over = false;
    this.look = () => this.begin();
    document.addEventListener("visibilitychange", this.look);
  }

  begin() {
    if (this.over) return;
    this.hangUp();
    if (document.hidden || streams >= STREAMS) this.ask();
    else this.listen();
  }

  listen() {
    this.asks = 0;
    streams += 1;
    const source = new EventSource(api.events(this.id));
    this.source = source;
    source.addEventListener("progress", (event) => this.tell.moment(JSON.parse(event.data)));
    source.addEventListener("end", (event) => this.finish(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.hangUp();
      this.ask();
    });
  }

  async ask() {
    const turn = (this.timer = -1);
    let pause = document.hidden ? ASK_HIDDEN : ASK_EVERY;
    try {
      const moment = await api.progress(this.id);
      if (this.over || this.timer !== turn) return;
      if (ENDED.has(moment.state)) return this.finish(await api.job(this.id));
      this.tell.moment(moment);
      this.asks += 1;
    } catch (error) {
      if (this.over || this.timer !== turn) return;
      if (error instanceof api.Refused && error.status === 404) return this.lose();
      this.tell.unreachable();
      pause = 2 * ASK_EVERY;
    }
    const stream = this.asks >= ASKS_BEFORE_A_STREAM && !document.hidden;
    this.timer = setTimeout(() => (stream ? this.begin() : this.ask()), pause);
  }

  hangUp() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.source === null) return;
    this.source.close();
    this.source = null;
    streams -= 1;
  }

  stop() {
    this.over = true;
    this.hangUp();
    document.removeEventListener("visibilitychange", this.look);
  }

  finish(job) {
    if (this.over) return;
    this.stop();
    this.tell.end(job);
  }

  lose() {
    this.stop();
    this.tell.gone();
  }
}
