"""Models: those that turn prompts into text, the encoder of the filters, and the project's own language model.

The data engine uses `backends` (generators) and `encoder`; the language model lives in `lm` and `attention`, and is
made and measured in `data`, `training` and `evaluation`. `weights` and `device` serve both.
"""
