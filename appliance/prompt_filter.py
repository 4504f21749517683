"""Words that a box does not draw, when its owner says so. A filter looks at a request and raises `BadInput`, no more:
any other takes the same place, and every door asks it, since the journal does (its `admit`).

A list stops what is said plainly, in the languages it was written in. It does not understand: who describes a thing
without its word gets past, or cuts it in two, and a harmless sentence with a listed word does not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from appliance.errors import BadInput
from appliance.request import GenerationRequest

CHILDREN = "children"  # the list that comes along
Filter = Callable[[GenerationRequest], None]
_OWN = Path(__file__).with_name("children.txt")
_SIGNS = str.maketrans("013457@$|!", "oieastasii")
# Letters that look like Latin ones: Cyrillic ones do in both cases, of Greek ones each case is like another.
_CYRILLIC = ("авгеєѕіјкмнорстухьүһӏԁԍԛԝѡѵ", "abreesijkmhopctyxbyhldgqwwv")
_GREEK = ("αβγεηικμνορςστυχωϳ", "abyenikuvopcotuxwj")
_GREEK_CAPITALS = ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧͿ", "abezhikmnoptyxj")
_LATIN = ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢıɑɡ", "abcdefghijklmnopqrstuvwyziag")  # small capitals and three more
_LOOKALIKES = {
    ord(letter): latin
    for letters, meant in (_CYRILLIC, (_CYRILLIC[0].upper(), _CYRILLIC[1]), _GREEK, _GREEK_CAPITALS, _LATIN)
    for letter, latin in zip(letters, meant, strict=True)
}
_LONGEST = 5  # words of a phrase


def filtered(name: str | None, then: Filter) -> Filter:
    """Ask the list of that name (`children`, or a file) and then `then`. Raises `BadInput` when it cannot be read."""
    if not name:
        return then
    words = read(_OWN if name == CHILDREN else Path(name).expanduser())

    def ask(request: GenerationRequest) -> None:
        words(request)
        then(request)

    return ask


def read(path: Path) -> WordList:
    """One word or phrase a line; # begins a remark. Raises `BadInput`."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"The list {path} cannot be read: check prompt_filter, or say `{CHILDREN}`.") from None
    found = WordList(line.partition("#")[0] for line in lines)
    if not found.phrases:
        raise BadInput(f"The list {path} has no word in it: write one a line.")
    return found


class WordList:
    """Refuses a prompt in which one of the phrases stands, whatever its accents, case and plural, and also where signs
    or letters that look like its own are written for them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.phrases = {tuple(words) for line in lines if (words := _words(line))}

    def __call__(self, request: GenerationRequest) -> None:
        if self.holds(request.prompt):
            raise BadInput("The owner of this box does not let it draw that: ask for something else.")

    def holds(self, prompt: str) -> bool:
        """Whether a phrase of the list stands in it."""
        written = (prompt, _joined(prompt))
        for words in map(_words, (*written, *map(_latin, written))):
            for first in range(len(words)):
                for last in range(first + 1, min(len(words), first + _LONGEST) + 1):
                    if tuple(words[first:last]) in self.phrases:
                        return True
        return False


def _latin(text: str) -> str:
    """As it looks to who reads Latin letters."""
    return unicodedata.normalize("NFKD", text).translate(_LOOKALIKES)


def _words(text: str) -> list[str]:
    """Plain words: no accents, no marks, singular; `n4ked` is read as it is meant."""
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_SIGNS)
    plain = "".join(letter for letter in plain if unicodedata.category(letter) not in ("Mn", "Cf"))
    return [_singular(word) for word in re.findall(r"[^\W_]+", plain)]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _joined(text: str) -> str:
    """`n u d e`, `n.u.d.e` → `nude`."""
    return re.sub(r"\b(?:\w[\s._*-]+){2,}\w\b", lambda found: re.sub(r"[\s._*-]+", "", found[0]), text)
