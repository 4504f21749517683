"""The cloud side of a thousand boxes: a collector without gaps, a simulator, provisioning, and a table to look at."""
