"""How models write tool calls: entries in `catalogue`, and the scanners that read calls letter by letter."""
