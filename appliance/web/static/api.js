// The box's API. Two things can go wrong: it says no (Refused), or nobody answers (Unreachable).

import { say } from "./words.js";

const PAIR = "/v1/pair";
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

let token = null; // what the box told this page, and no other site can read

/** One call; gives the answer's json. Whoever is no longer let in begins anew. */
async function call(method, path, body) {
  const options = { method, headers: {}, cache: "no-store" };
  if (token !== null && method !== "GET") options.headers["X-Ensueno-Token"] = token;
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
  if (answer.status === 401 && path !== PAIR) location.reload();
  if (!answer.ok) throw new Refused(answer.status, json.detail);
  return json;
}

/** Who this browser is to the box. */
export const who = () => known(call("GET", PAIR));
export const pair = (pin, name) => known(call("POST", PAIR, { pin, name }));

async function known(asked) {
  const told = await asked;
  ({ token } = told);
  return told;
}

export const people = () => call("GET", "/v1/people");
export const invite = (role) => call("POST", "/v1/people", { role });
export const revoke = (id) => call("DELETE", `/v1/people/${id}`);
export const offer = () => call("GET", "/v1/offer");
export const box = () => call("GET", "/v1/box");
export const submit = (id, fields) => call("POST", "/v1/jobs", { ...fields, id });
export const job = (id) => call("GET", `/v1/jobs/${id}`);
export const progress = (id) => call("GET", `/v1/jobs/${id}/progress`);
export const cancel = (id) => call("DELETE", `/v1/jobs/${id}`);
export const events = (id) => `/v1/jobs/${id}/events`;
export const image = (id) => call("GET", `/v1/images/${id}`);
export const feedback = (id, thumb) => call("POST", `/v1/images/${id}/feedback`, { feedback: thumb });
export const favourite = (id, wanted) => call("POST", `/v1/images/${id}/favourite`, { favourite: wanted });
export const remove = (id) => call("DELETE", `/v1/images/${id}`);

/** The file of a picture. */
export async function file(url) {
  try {
    const answer = await fetch(url);
    if (answer.ok) return await answer.blob();
  } catch {
    throw new Unreachable();
  }
  throw new Refused(500, "");
}

/** A page of the gallery, the newest first. */
export const images = (limit, before) =>
  call("GET", `/v1/images?limit=${limit}${before ? `&before=${before}` : ""}`);

/** A job's id, made here so that sending twice is asking once. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return "page-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
