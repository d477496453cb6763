"""llama.cpp, with its failures made readable.

Reading order: llama, vocabulary, context, kv_layout, cells, devices.
"""
