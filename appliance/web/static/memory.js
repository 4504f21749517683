// What this browser asked for and has not seen the end of. Kept over a reload; a browser that keeps nothing is fine too.

const KEY = "ensueno.asked";
const MOST = 20;
let asked = read();

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter((entry) => typeof entry?.id === "string" && entry.fields) : [];
  } catch {
    return [];
  }
}

function write() {
  try {
    localStorage.setItem(KEY, JSON.stringify(asked));
  } catch {
    // full or forbidden: this visit still remembers
  }
}

/** Everything that was asked for, the oldest first. */
export const all = () => [...asked];

export function remember(entry) {
  asked = [...read().filter((other) => other.id !== entry.id), entry].slice(-MOST);
  write();
}

export function forget(id) {
  asked = read().filter((entry) => entry.id !== id);
  write();
}
