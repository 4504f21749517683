"""From a sentence to pixels, one file for each box of the figure. Knows no queue, page or GPU."""
