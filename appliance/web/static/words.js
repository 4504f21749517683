// The page's sentences in the visitor's language: the same file that the box rendered the page from.

const language = document.documentElement.lang;
const answer = await fetch(`/static/words.${language}.json`);
const words = await answer.json();
const names = new Intl.DisplayNames(language, { type: "language", languageDisplay: "standard", style: "short" });

/** The sentence of that name, with its {gaps} filled. */
export function say(name, gaps = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, gap) => String(gaps[gap]));
}

/** "about 12 s" or "about 3 min"; nothing when nobody knows. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return say("seconds", { n: Math.max(1, Math.round(seconds)) });
  return say("minutes", { n: Math.round(seconds / 60) });
}

/** The visitor's own locale, when it is one. */
export function locale() {
  const name = navigator.language || "";
  return /^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,4}$/.test(name) ? name : language;
}

/** A locale's name in the page's language: "English (UK)". */
export function localeName(tag) {
  try {
    return names.of(tag.replaceAll("_", "-"));
  } catch {
    return tag;
  }
}
