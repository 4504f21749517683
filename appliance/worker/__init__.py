"""The engine process: the only one that loads a model. `process` lives, `drive` takes one turn, `batch` chooses."""
