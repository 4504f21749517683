"""What the model is taught: things and their words, scenes painted from them, and sentences that tell them."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
