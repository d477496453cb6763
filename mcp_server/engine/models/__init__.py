"""The models on this machine and in `models.toml`: finding, reading, downloading, weighing them.

Reading order: catalog, models_file, gguf_file, memory, pull.
"""
