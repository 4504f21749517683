"""Scenes for property tests: any that the tiny library's things can play."""

from __future__ import annotations

from hypothesis import strategies as st

from training.corpus.library import Library, Thing
from training.corpus.scenes import EXTRAS, PLACES, RELATIONS, Part, Scene
from training.run import Run

Scenes = st.SearchStrategy[Scene]


def parts(run: Run, library: Library, most: int = 4, dressed: bool = False) -> st.SearchStrategy[Part]:
    """Up to so many of one thing, perhaps painted."""
    colour = st.none() | st.sampled_from(list(run.colours))
    extra = st.sampled_from(EXTRAS) if dressed else st.none()

    def of(thing: Thing) -> st.SearchStrategy[Part]:
        rows = st.lists(st.sampled_from(thing.pictures + thing.bodies), min_size=1, max_size=most).map(tuple)
        return st.builds(Part, st.just(thing.id), rows, colour, extra)

    return st.one_of([of(thing) for thing in library.things.values()])


def scenes(run: Run, library: Library) -> Scenes:
    """Two parts, or some of one, anywhere; or one alone, dressed or on a colour."""
    place = st.none() | st.sampled_from(PLACES)
    some, one, dressed = parts(run, library), parts(run, library, most=1), parts(run, library, most=1, dressed=True)
    return st.one_of(
        st.builds(Scene, st.tuples(some, one), st.sampled_from(RELATIONS), place),
        st.builds(Scene, st.tuples(some), st.none(), place),
        st.builds(Scene, st.tuples(dressed)),
        st.builds(Scene, st.tuples(one), backdrop=st.sampled_from(list(run.colours))),
    )
