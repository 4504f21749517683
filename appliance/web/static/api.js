// The box's API. Two things can go wrong: it says no (Refused), or nobody answers (Unreachable).

import { say } from "./words.js";

const KNOWN = new Set([429, 500, 503, 507]);

/** The box answered with an error; `message` is a sentence for people. */
export class Refused extends Error {
  constructor(status, detail) {
    super(KNOWN.has(status) ? say(`error_${status}`) : say("box_says", { sentence: detail }));
    this.status = status;
  }
}

/** No answer came. */
export class Unreachable extends Error {
  constructor() {
    super(say("error_offline"));
  }
}

/** One call; gives the answer's json. */
async function call(method, path, body) {
  const options = { method, headers: {}, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer, json;
  try {
    answer = await fetch(path, options);
    json = await answer.json();
  } catch {
    if (answer && !answer.ok) throw new Refused(500, "");
    throw new Unreachable();
  }
  if (!answer.ok) throw new Refused(answer.status, json.detail);
  return json;
}

export const offer = () => call("GET", "/v1/offer");
export const submit = (id, fields) => call("POST", "/v1/jobs", { ...fields, id });
export const job = (id) => call("GET", `/v1/jobs/${id}`);
export const progress = (id) => call("GET", `/v1/jobs/${id}/progress`);
export const cancel = (id) => call("DELETE", `/v1/jobs/${id}`);
export const events = (id) => `/v1/jobs/${id}/events`;
export const image = (id) => call("GET", `/v1/images/${id}`);
export const feedback = (id, thumb) => call("POST", `/v1/images/${id}/feedback`, { feedback: thumb });

/** A page of the gallery, the newest first. */
export const images = (limit, before) =>
  call("GET", `/v1/images?limit=${limit}${before ? `&before=${before}` : ""}`);

/** A job's id, made here so that sending twice is asking once. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return "page-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
