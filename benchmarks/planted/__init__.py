"""Recall and precision on defects that are planted in real passages: `copies`, `paraphrases`, `names`, `privacy`."""
