// What this browser asked for and has not seen the end of, for after a reload. A browser that keeps nothing is fine too:
// only a reload forgets then.

const KEY = "ensueno.asked";
const MOST = 20;

/** Everything that was asked for, the oldest first. */
export function all() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter((entry) => typeof entry?.id === "string" && entry.fields) : [];
  } catch {
    return [];
  }
}

export function remember(entry) {
  keep([...others(entry.id), entry].slice(-MOST));
}

export function forget(id) {
  keep(others(id));
}

const others = (id) => all().filter((entry) => entry.id !== id);

function keep(asked) {
  try {
    localStorage.setItem(KEY, JSON.stringify(asked));
  } catch {
    // full or forbidden
  }
}
