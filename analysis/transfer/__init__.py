"""Checkpoints that were fine-tuned: their error on other data against what their pre-training cost."""
