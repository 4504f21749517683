"""The wire and both its ends."""
