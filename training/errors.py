"""The one error that the command line turns into a sentence."""


class TrainingError(Exception):
    """Something the person at the keyboard can put right; the message is one whole sentence."""
