"""What the model has learned: a judge of its own, questions put to the finished bundle, and the report."""
