"""The one error that the command line turns into a sentence."""

from appliance.errors import BadInput


class TrainingError(BadInput):
    """Something the person at the keyboard can put right; the message is one whole sentence."""
