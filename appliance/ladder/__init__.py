"""Which engine draws: the best rung that lives (attempts) and draws the golden pictures (golden); a bundle's trial."""
