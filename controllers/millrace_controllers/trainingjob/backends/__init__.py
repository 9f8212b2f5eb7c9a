"""Places where a TrainingJob can run, one module or package a member of spec."""
