"""What runs in the pods of a TrainingJob: a GPT on NeMo, and small libraries that any training script may use.

`progress` is the one a foreign script wants; it and everything down to `record` need the standard library only.
"""
