"""How models write tool calls: one entry a format in `catalogue`, scanners that read calls letter by letter beside it."""
