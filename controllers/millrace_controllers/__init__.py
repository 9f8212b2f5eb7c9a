"""The kinds: one folder each, the same file names in all; a folder exports CONTROLLER and nothing else."""
