"""What runs on the box: the page and API (`web`), the engine process (`worker`), and what they share."""

__version__ = "0.1.0"
